"""How wide each column of a table is, so that its lines fit where people look.

Pure: takes texts and a width, gives texts. Ids, states and times are never cut; what gives way is
free text first, at its end, then names, in their middle, where two of them differ least. What does
not fit even so stays whole, and the terminal wraps it: a line that breaks can still be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum


class Gives(Enum):
    """What a column does when the line is too long."""

    NOTHING = "nothing"
    NAME = "name"
    TEXT = "text"


# Who gives way down to what, one after another. 18 shows "0 0 6 * * MON-FRI" whole; below the
# last ones a text says nothing, and a name could be any.
STEPS = ((Gives.TEXT, 18), (Gives.NAME, 16), (Gives.TEXT, 12))
GAP = 2


def fit(rows: Sequence[Sequence[str]], gives: Sequence[Gives], width: int | None) -> list[int]:
    """How wide each column may be; the first row holds the titles. Without a width, all of it."""
    widths = [max(map(_cells, column)) for column in zip(*rows, strict=True)]
    if width is None:
        return widths
    for kind, least in STEPS:
        while (over := sum(widths) + GAP * (len(widths) - 1) - width) > 0:
            giving = [at for at, each in enumerate(gives) if each is kind and widths[at] > least]
            if not giving:
                break
            _shrink_widest(widths, giving, over, least)
    return widths


def cut(text: str, width: int, gives: Gives) -> str:
    """The text in so many cells of a terminal; what is left out shows as one dot of three."""
    if _cells(text) <= width:
        return text
    if gives is Gives.TEXT:
        return _head(text, width - 1) + "…"
    end = (width - 1) // 2
    return _head(text, width - 1 - end) + "…" + _head(text[::-1], end)[::-1]


def lines(
    rows: Sequence[Sequence[str]],
    gives: Sequence[Gives],
    width: int | None,
    styled: Callable[[str, str], str],
) -> list[str]:
    """The table; `styled` colours a cell, given its whole text and the padded one."""
    widths = fit(rows, gives, width)
    return [
        "".join(
            styled(cell, _padded(cut(cell, wide, kind), wide + GAP))
            for cell, wide, kind in zip(row, widths, gives, strict=True)
        ).rstrip()
        for row in rows
    ]


def _shrink_widest(widths: list[int], giving: Sequence[int], over: int, least: int) -> None:
    """Take from the widest, down to the next one, what is over."""
    at = max(giving, key=lambda each: widths[each])
    others = [widths[each] for each in giving if widths[each] < widths[at]]
    floor = max([least, *others])
    widths[at] -= max(1, min(over, widths[at] - floor))


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _cells(text))


def _head(text: str, width: int) -> str:
    while _cells(text) > width:
        text = text[: max(width, 0)] if len(text) > width else text[:-1]
    return text


def _cells(text: str) -> int:
    """How wide a terminal shows it: an ideograph takes two cells."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - only where it matters

    return cell_len(text)
