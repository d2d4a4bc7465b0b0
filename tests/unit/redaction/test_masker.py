from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce_redaction import MASK, MAX_PATTERNS, Masker, MaskSet


def masked(patterns: list[bytes], chunks: list[bytes]) -> bytes:
    masker = Masker(MaskSet(patterns))
    return b"".join([masker.feed(chunk) for chunk in chunks] + [masker.flush()])


def by_hand(patterns: list[bytes], text: bytes) -> bytes:
    """The slow and obvious way: mark every covered byte, then write each run of matches once."""
    spans = sorted(
        (at, at + len(pattern))
        for pattern in set(patterns)
        for at in range(len(text))
        if pattern and text.startswith(pattern, at)
    )
    out, done = b"", 0
    for start, end in spans:
        if start >= done:
            out += text[done:start] + MASK
        done = max(done, end)
    return out + text[done:]


small_bytes = st.lists(st.sampled_from(b"abc"), max_size=60).map(bytes)
small_patterns = st.lists(
    st.lists(st.sampled_from(b"abc"), min_size=1, max_size=6).map(bytes), min_size=1, max_size=5
)


@given(small_patterns, small_bytes, st.lists(st.integers(0, 60), max_size=8))
def test_masking_does_not_depend_on_where_the_stream_is_cut(
    patterns: list[bytes], text: bytes, cuts: list[int]
) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    chunks = [text[a:b] for a, b in pairwise(places)]

    assert masked(patterns, chunks) == by_hand(patterns, text)


@given(small_patterns, small_bytes)
def test_no_pattern_survives_outside_the_masks(patterns: list[bytes], text: bytes) -> None:
    result = masked(patterns, [text[at : at + 1] for at in range(len(text))])

    for piece in result.split(MASK):
        assert not any(pattern in piece for pattern in patterns)


def test_a_secret_across_chunk_borders_is_masked() -> None:
    assert masked([b"hunter22"], [b"pass hun", b"te", b"r22 end"]) == b"pass ******** end"


def test_what_only_began_like_a_secret_comes_out_at_the_end() -> None:
    assert masked([b"hunter22"], [b"a hunt", b"er"]) == b"a hunter"


def test_overlapping_secrets_become_one_mask() -> None:
    assert masked([b"abcd", b"cdef"], [b"xabc", b"defx"]) == b"x********x"


def test_the_longer_of_two_secrets_with_one_beginning_wins() -> None:
    assert masked([b"token", b"token-long"], [b"token-lo", b"ng!"]) == b"********!"


def test_a_stream_of_one_endless_match_holds_nothing_back_for_long() -> None:
    masker = Masker(MaskSet([b"aaaa"]))

    for _ in range(100):
        masker.feed(b"a" * 1000)

    assert len(masker._held) < 4


def test_text_without_any_beginning_leaves_at_once() -> None:
    assert Masker(MaskSet([b"secret"])).feed(b"plain\n") == b"plain\n"


def test_too_many_patterns_are_refused() -> None:
    with pytest.raises(ValueError, match="more than"):
        MaskSet(str(number).encode() for number in range(MAX_PATTERNS + 1))
