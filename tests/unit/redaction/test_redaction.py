from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce_redaction import MASK, Masker, MaskSet, forms_of, mask_bytes, mask_text
from kronforce_redaction.matching import ANCHOR_BYTES, FAST_AFTER_BYTES
from tests.unit.redaction.redaction_cases import Case, cases

CASES = {case.name: case for case in cases()}


def masked(masks: MaskSet, chunks: list[bytes]) -> bytes:
    masker = Masker(masks)
    return b"".join([masker.feed(chunk) for chunk in chunks] + [masker.flush()])


def by_hand(patterns: set[bytes], text: bytes) -> bytes:
    """The slow and obvious way: every occurrence, joined where they overlap."""
    spans = sorted(
        (at, at + len(pattern))
        for pattern in patterns
        for at in range(len(text))
        if text.startswith(pattern, at)
    )
    out, done = b"", 0
    for start, end in spans:
        if start >= done:
            out += text[done:start] + MASK
        done = max(done, end)
    return out + text[done:]


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 300


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_secret_is_masked_whatever_it_looks_like_and_wherever_it_is_cut(case: Case) -> None:
    masks = MaskSet.of_secrets(case.secrets)
    text = case.printed

    assert mask_bytes(masks, text) == case.shown
    assert masked(masks, [text[at : at + 1] for at in range(len(text))]) == case.shown
    wrong = [at for at in range(len(text)) if masked(masks, [text[:at], text[at:]]) != case.shown]
    assert wrong == []


secrets = st.lists(
    st.binary(min_size=4, max_size=20) | st.text("aé/ \n<", min_size=4).map(str.encode)
)


@given(st.data(), secrets.filter(bool))
def test_masking_is_what_a_naive_search_for_every_form_gives(
    data: st.DataObject, secrets: list[bytes]
) -> None:
    forms = {form for secret in secrets for form in forms_of(secret)}
    pieces = st.sampled_from(sorted(forms) or [b"x"]) | st.binary(max_size=3)
    cut = st.tuples(pieces, st.integers(0, 8), st.integers(0, 2)).map(
        lambda each: each[0][each[2] : len(each[0]) - each[1]] if each[1] > 5 else each[0]
    )
    text = b"".join(data.draw(st.lists(cut, max_size=8)))
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    chunks = [text[a:b] for a, b in pairwise([0, *sorted(places), len(text)])]

    assert masked(MaskSet(forms), chunks) == by_hand(forms, text)


long_ones = st.tuples(
    st.sampled_from([b"a", b"ab", b"aab"]),
    st.integers(ANCHOR_BYTES - 4, ANCHOR_BYTES + 4),
    st.sampled_from([b"", b"b", b"c", b"bb"]),
).map(lambda parts: (parts[0] * ANCHOR_BYTES)[: parts[1]] + parts[2])


@given(st.sets(long_ones, min_size=1, max_size=4), st.lists(long_ones, max_size=3), st.data())
def test_patterns_longer_than_their_anchor_are_masked_no_differently(
    patterns: set[bytes], pieces: list[bytes], data: st.DataObject
) -> None:
    text = b"-".join(pieces)
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=3))
    chunks = [text[a:b] for a, b in pairwise([0, *sorted(places), len(text)])]

    assert masked(MaskSet(patterns), chunks) == by_hand(patterns, text)


def test_much_output_is_masked_by_the_fast_form_no_differently() -> None:
    masks = MaskSet.of_secrets([b"hunter2hunter2"])
    block = b"0123456789 hunter2hunter2 hunter2 aHVudGVyMmh1bnRlcjI=\n" * 1000
    chunks = [block[:-7], block[-7:] + block] * (FAST_AFTER_BYTES // len(block) + 1)

    assert masked(masks, chunks) == mask_bytes(
        MaskSet.of_secrets([b"hunter2hunter2"]), b"".join(chunks)
    )


def test_a_secret_of_64_kib_is_masked() -> None:
    secret = b"".join(b"%05d" % number for number in range(13_000))
    masks = MaskSet.of_secrets([secret])
    chunks = [b"a" * 10, secret[:40_000], secret[40_000:], b"z", secret[:-1]]

    assert masked(masks, chunks) == b"a" * 10 + MASK + b"z" + secret[:-1]


def test_what_cannot_be_a_beginning_is_not_kept_waiting() -> None:
    masker = Masker(MaskSet.of_secrets([b"hunter2hunter2", b"multi\nline\nsecret"]))

    assert masker.feed(b"Continue? [y/N] ") == b"Continue? [y/N] "


def test_a_message_is_masked_and_stays_text() -> None:
    masks = MaskSet.of_secrets(["pässword".encode()])

    assert mask_text(masks, "no folder '/srv/pässword' é") == "no folder '/srv/********' é"
