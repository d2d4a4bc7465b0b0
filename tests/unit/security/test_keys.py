"""Keys, credentials and join tokens: their shape, and that nothing shows them by accident."""

from __future__ import annotations

import copy
import pickle

import pytest

from kronforce.security import keys
from kronforce.security.secret import MASK, Secret

TOKEN_ID = bytes(range(16))


def test_keys_have_256_bits_and_are_never_the_same() -> None:
    made = {keys.new_api_key().reveal() for _ in range(100)}
    assert len(made) == 100
    assert all(key.startswith("kf_") and len(key) == 3 + 43 for key in made)
    assert all(keys.is_api_key(key) for key in made)


def test_the_shown_prefix_gives_little_away() -> None:
    key = keys.new_api_key()
    prefix = keys.shown_prefix(key)
    assert key.reveal().startswith(prefix)
    assert len(prefix) == len("kf_xxxxxxxx")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Bearer kf_abc", "kf_abc"),
        ("bearer kfa_abc", "kfa_abc"),
        ("Bearer  kf_abc ", "kf_abc"),
        ("kf_abc", None),
        ("Basic kf_abc", None),
        ("Bearer kfj_abc", None),
        ("Bearer ", None),
        ("Bearer kf_" + "x" * keys.MAX_LENGTH, None),
    ],
)
def test_only_bearer_headers_with_a_key_of_ours_are_read(header: str, found: str | None) -> None:
    assert keys.bearer(header) == found


def test_a_join_token_carries_its_id_and_the_ca() -> None:
    plain = keys.parse_join_token(keys.new_join_token(TOKEN_ID).reveal())
    with_ca = keys.parse_join_token(keys.new_join_token(TOKEN_ID, b"\x30\x82der").reveal())
    assert plain is not None
    assert with_ca is not None
    assert (plain.id, plain.ca_der) == (TOKEN_ID, None)
    assert (with_ca.id, with_ca.ca_der) == (TOKEN_ID, b"\x30\x82der")


def test_the_ca_is_not_part_of_what_is_hashed() -> None:
    token = keys.new_join_token(TOKEN_ID, b"der").reveal()
    without = keys.parse_join_token(token.rpartition(".")[0])
    parsed = keys.parse_join_token(token)
    assert without is not None
    assert parsed is not None
    assert parsed.hash == without.hash


def test_the_id_of_a_join_token_may_be_written_as_ids_are() -> None:
    token = keys.new_join_token(TOKEN_ID).reveal()
    dashed = token.replace(TOKEN_ID.hex(), "00010203-0405-0607-0809-0a0b0c0d0e0f")
    assert keys.parse_join_token(dashed) == keys.parse_join_token(token)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kfj_",
        "kfj_00",
        f"kfj_{TOKEN_ID.hex()}",
        f"kfj_{TOKEN_ID.hex()}.",
        "kfj_zz.secret",
        f"kf_{TOKEN_ID.hex()}.secret",
        f"kfj_{TOKEN_ID.hex()}.{'x' * keys.MAX_LENGTH}",
    ],
)
def test_what_is_no_join_token_is_nothing(text: str) -> None:
    assert keys.parse_join_token(text) is None


def test_a_secret_shows_a_mask_wherever_it_is_printed() -> None:
    secret = Secret("kf_hidden")
    assert "hidden" not in f"{secret} {secret!r} {[secret]} {secret:}"
    assert str(secret) == MASK
    assert secret.reveal() == "kf_hidden"


def test_secrets_are_compared_but_neither_hashed_nor_copied_out() -> None:
    assert Secret("one") == Secret("one")
    assert Secret("one") != Secret("two")
    assert Secret("one") != "one"
    with pytest.raises(TypeError):
        hash(Secret("one"))
    with pytest.raises(TypeError):
        pickle.dumps(Secret("one"))
    with pytest.raises(TypeError):
        copy.copy(Secret("one"))
