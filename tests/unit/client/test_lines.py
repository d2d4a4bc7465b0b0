"""Lines out of chunks, and what matches them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce.v1.execution_pb2 import OutputChunk, OutputStream
from kronforce_client.lines import LINE_MAX_BYTES, LineSplitter, matcher

STDOUT = OutputStream.OUTPUT_STREAM_STDOUT
STDERR = OutputStream.OUTPUT_STREAM_STDERR


def split(*chunks: OutputChunk):
    splitter = LineSplitter()
    return [line for chunk in chunks for line in splitter.add(chunk)] + list(splitter.end())


def out(data: bytes) -> OutputChunk:
    return OutputChunk(stream=STDOUT, data=data)


def err(data: bytes) -> OutputChunk:
    return OutputChunk(stream=STDERR, data=data)


def test_each_stream_has_its_own_lines_and_numbers_however_chunks_are_cut():
    lines = split(out(b"on"), err(b"warn\nmo"), out(b"e\ntwo\nthr"), err(b"re\n"), out(b"ee"))
    found = [(line.stream, line.number, line.data, line.ends) for line in lines]
    assert found == [
        (STDERR, 1, b"warn", True),
        (STDOUT, 1, b"one", True),
        (STDOUT, 2, b"two", True),
        (STDERR, 2, b"more", True),
        (STDOUT, 3, b"three", False),
    ]


@given(st.lists(st.binary(max_size=20)))
def test_no_byte_is_lost_or_made_up(parts):
    lines = split(*(out(part) for part in parts if part))
    assert b"".join(line.data + b"\n" * line.ends for line in lines) == b"".join(parts)


def test_a_line_without_an_end_comes_in_pieces_of_one_number():
    lines = split(*(out(b"x" * 50_000) for _ in range(4)), out(b"\nnext\n"))
    assert [line.number for line in lines] == [1, 1, 1, 1, 2]
    assert max(len(line.data) for line in lines) == LINE_MAX_BYTES
    assert sum(len(line.data) for line in lines[:4]) == 200_000


def test_a_gap_ends_a_line_and_is_told_with_the_next_one():
    lines = split(out(b"before"), OutputChunk(stream=STDOUT, gap_bytes=100), out(b"after\n"))
    assert [(line.data, line.missing) for line in lines] == [(b"before", 0), (b"after", 100)]


def test_bytes_that_are_no_text_are_searched_all_the_same():
    matches = matcher("café", ignore_case=True)
    assert matches(b"\xff\x00 " + "CAFÉ".encode() + b" \xfe")
    assert not matches(b"\xff\x00")


def test_a_pattern_that_is_none_says_why():
    with pytest.raises(ValueError, match="not a regular expression"):
        matcher("(", ignore_case=False)
