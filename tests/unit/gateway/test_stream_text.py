"""Output as text: whole characters, contiguous offsets, whatever the chunks are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kronforce_gateway.live.text import Piece, Texts

KEY = ("e1", 1)


def pieces(chunks: list[bytes], start: int = 0) -> list[Piece]:
    texts = Texts()
    found: list[Piece] = []
    for chunk in chunks:
        found.append(texts.take(KEY, start, chunk))
        start += len(chunk)
    rest = texts.rest(KEY)
    return [*found, rest] if rest is not None else found


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks = []
    for size in sizes:
        chunks.append(data[:size])
        data = data[size:]
    return [chunk for chunk in [*chunks, data] if chunk]


@given(st.text(), st.lists(st.integers(1, 5)))
def test_text_comes_out_as_it_went_in_however_it_is_cut(text: str, sizes: list[int]) -> None:
    assert "".join(piece.text for piece in pieces(cut(text.encode(), sizes))) == text


@given(st.binary(), st.lists(st.integers(1, 5)), st.integers(0, 1 << 40))
def test_every_byte_stands_in_one_piece(data: bytes, sizes: list[int], start: int) -> None:
    found = [piece for piece in pieces(cut(data, sizes), start) if piece.end > piece.start]

    assert [start, *(piece.end for piece in found)] == [
        *(piece.start for piece in found),
        start + len(data),
    ]


@given(st.binary())
def test_what_is_no_text_is_replaced_as_it_would_be_in_one_piece(data: bytes) -> None:
    assert "".join(p.text for p in pieces([data] if data else [])) == data.decode(errors="replace")


def test_no_more_than_the_beginning_of_a_character_is_held_back() -> None:
    texts = Texts()
    assert texts.take(KEY, 0, b"ab\xf0\x9f\x98") == Piece(0, 2, "ab")
    assert texts.take(KEY, 5, b"\x80") == Piece(2, 6, "😀")
    assert texts.rest(KEY) is None
