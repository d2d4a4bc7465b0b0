"""Here-documents: the delimiter as it is written, and where the text ends."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = re.compile(r"""(?:[^\s;&|<>()'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+""", re.DOTALL)
_QUOTES = re.compile(r"""\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Heredoc:
    """One that was announced with `<<`; its text begins after the next newline."""

    delimiter: str
    expands: bool
    """Its delimiter has no quotes: the shell puts values into its text."""
    strips_tabs: bool
    source: bool = False
    """A shell reads it."""


def read_announcement(text: str, at: int, *, source: bool) -> tuple[Heredoc, int, int] | None:
    """What follows `<<`, and where its delimiter begins and ends. None: there is no delimiter."""
    strips = text.startswith("-", at)
    start = at + 1 if strips else at
    while text.startswith((" ", "\t"), start):
        start += 1
    word = _WORD.match(text, start)
    if word is None:
        return None
    delimiter = _QUOTES.sub(lambda quoted: next(filter(None, quoted.groups()), ""), word[0])
    expands = not any(quote in word[0] for quote in "'\"\\")
    heredoc = Heredoc(delimiter=delimiter, expands=expands, strips_tabs=strips, source=source)
    return heredoc, start, word.end()


def find_end(text: str, start: int, end: int, heredoc: Heredoc) -> tuple[int, int]:
    """Where its text ends, and where the line after its delimiter begins."""
    at, continued = start, False
    while at < end:
        newline = text.find("\n", at, end)
        line_end = newline if newline >= 0 else end
        line = text[at:line_end]
        bare = line.lstrip("\t") if heredoc.strips_tabs else line
        if bare == heredoc.delimiter and not continued:
            return at, min(line_end + 1, end)
        continued = heredoc.expands and _goes_on(line)
        at = line_end + 1
    return end, end


def _goes_on(line: str) -> bool:
    """The newline after it is escaped: what follows belongs to the same line."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1
