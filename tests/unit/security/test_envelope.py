"""Envelope encryption: what opens, and everything that must not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce.security.envelope import (
    CannotOpen,
    Keyring,
    MasterKey,
    new_master_key,
    parse_master_key,
)
from kronforce.store.secret_keys import SecretKeyRow

ID, OTHER_ID = b"1" * 16, b"2" * 16


def stored(keyring: Keyring, key_id: bytes = ID) -> SecretKeyRow:
    wrapped, canary = keyring.new_key(key_id)
    return SecretKeyRow(id=key_id, wrapped=wrapped, canary=canary, created_at=1, retired_at=None)


@given(st.binary(max_size=2_000))
def test_what_is_sealed_opens_again_and_does_not_show(text):
    keyring = Keyring(MasterKey(b"m" * 32))
    key = keyring.key_of(stored(keyring))

    sealed = key.seal(b"here", text)
    assert keyring.open(b"here", sealed) == text
    assert len(text) < 8 or text not in sealed
    assert key.seal(b"here", text) != sealed


def test_a_value_opens_in_its_own_place_alone():
    keyring = Keyring(MasterKey(b"m" * 32))
    sealed = keyring.key_of(stored(keyring)).seal(b"row 1", b"hunter22")
    with pytest.raises(CannotOpen):
        keyring.open(b"row 2", sealed)


def test_any_changed_byte_is_noticed():
    keyring = Keyring(MasterKey(b"m" * 32))
    sealed = keyring.key_of(stored(keyring)).seal(b"here", b"hunter22")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(CannotOpen):
            keyring.open(b"here", bytes(changed))
    for end in range(len(sealed)):
        with pytest.raises(CannotOpen):
            keyring.open(b"here", sealed[:end])


def test_another_master_key_opens_no_data_key():
    row = stored(Keyring(MasterKey(b"m" * 32)))
    with pytest.raises(CannotOpen):
        Keyring(MasterKey(b"x" * 32)).keep_only([row])


def test_a_data_key_does_not_pass_for_another():
    keyring = Keyring(MasterKey(b"m" * 32))
    one = stored(keyring)
    posing = SecretKeyRow(
        id=OTHER_ID, wrapped=one.wrapped, canary=one.canary, created_at=1, retired_at=None
    )
    with pytest.raises(CannotOpen):
        keyring.key_of(posing)


def test_keys_that_are_gone_open_nothing_more():
    keyring = Keyring(MasterKey(b"m" * 32))
    old, new = stored(keyring), stored(keyring, OTHER_ID)
    sealed = keyring.key_of(old).seal(b"here", b"hunter22")
    keyring.keep_only([new])
    with pytest.raises(CannotOpen):
        keyring.open(b"here", sealed)


def test_a_master_key_is_32_bytes_of_either_base64_with_or_without_padding():
    text = new_master_key()
    wrapped = parse_master_key(text).wrap(ID, b"k" * 32)
    url = text.replace("+", "-").replace("/", "_").rstrip("=")
    assert parse_master_key(f" {url}\n").unwrap(ID, wrapped) == b"k" * 32
    for wrong in ("", "not base64!", "YWJj"):
        with pytest.raises(ValueError, match=r"base64|bytes"):
            parse_master_key(wrong)
