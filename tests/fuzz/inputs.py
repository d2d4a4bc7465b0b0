"""Inputs that are nearly right: what strangers know, damaged, repeated and nested.

Random bytes end at a decoder's first check. These begin with something that it takes, and go on
from there; `blown_up` finds what is slower than its input is long.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

# As long as what is sent over HTTP without being refused for its size is likely to be.
LONGEST = 40_000
_ODD = [
    "\x00",
    "\udcff",
    "\uffff",
    "\u202e",
    "é",
    "𝟘",
    "٣",
    "\r\n",
    "\\",
    '"',
    "'",
    "{{",
    "}}",
    "%",
]
ODD_TEXT = st.text(max_size=20) | st.lists(st.sampled_from(_ODD), max_size=6).map("".join)
# Numbers at which something ends.
EDGES = [0, 1, -1, 127, 128, 255, 256, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64]


def blown_up(pieces: Sequence[Any], longest: int = LONGEST) -> st.SearchStrategy[Any]:
    """One or two pieces, text or bytes, over and over, up to `longest`."""
    empty = pieces[0][:0]
    some = st.lists(st.sampled_from(pieces), min_size=1, max_size=2).map(empty.join)
    return st.builds(
        lambda piece, times, end: (piece * times)[:longest] + end,
        some,
        st.sampled_from([3, 100, longest]),
        st.sampled_from([empty, pieces[0]]),
    )


def words(pieces: Sequence[str]) -> st.SearchStrategy[str]:
    """Text of the words that a grammar knows, in any order, with oddities between."""
    known = st.lists(st.sampled_from(pieces) | ODD_TEXT, max_size=12)
    return known.map("".join) | known.map(" ".join) | blown_up(pieces)


def damaged(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes that are right but for some places, which are cut out, doubled or overwritten."""
    return st.builds(
        damage, st.sampled_from(seeds), st.integers(0, 2**64 - 1), st.integers(0, 6)
    ) | st.binary(max_size=200)


def damaged_text(seeds: Sequence[str]) -> st.SearchStrategy[str]:
    """The same for text."""
    return damaged([each.encode() for each in seeds]).map(lambda b: b.decode(errors="replace"))


def damage(seed: bytes, number: int, times: int) -> bytes:
    chance, data = random.Random(number), bytearray(seed)
    for _ in range(times):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((1, 1, 2, 4, 8, 64)))
        match chance.randrange(6):
            case 0:
                del data[at:to]
            case 1:
                data[at:to] = chance.randbytes(to - at)
            case 2:
                data[at:at] = data[at:to] * chance.choice((1, 2, 50))
            case 3:
                data[at:to] = bytes([chance.choice((0, 0x7F, 0x80, 0xFF))]) * (to - at)
            case 4:
                data[at:at] = chance.choice(_SPLICES)
            case _:
                data = data[:at]
    return bytes(data[:LONGEST])


_SPLICES = [
    b"\x00", b"\xff\xff\xff\xff", b"\xed\xa0\x80", b'"', b"{", b"[", b"}", b",", b":", b"\r\n",
    b"9" * 400, b"1e999", b"-0", b"NaN", b"../", b"%00", b"%ff", b"\xef\xbb\xbf", b"=", b"&", b";",
]  # fmt: skip
