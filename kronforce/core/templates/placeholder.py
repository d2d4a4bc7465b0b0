"""What a placeholder looks like, and a text with placeholders in it.

`{{NAME}}` and `{{params.NAME}}`, blanks inside allowed. Everything else in double braces stays as
it stands: `${{ … }}`, `{{{ … }}}`, `{{.Names}}`, `{{ a | b }}` belong to other programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PLACEHOLDER = re.compile(r"(?<![${])\{\{[ \t]*((?:params\.)?[A-Za-z0-9_]+)[ \t]*\}\}")
PARAMS = "params."
"""What a parameter is looked up under, before its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placeholder:
    """One of them, where it stands."""

    start: int
    end: int
    name: str
    """As it is looked up: `NAME` or `params.NAME`."""


def find_placeholders(text: str, start: int = 0, end: int | None = None) -> Iterator[Placeholder]:
    """All in this part of the text, in order."""
    for match in PLACEHOLDER.finditer(text, start, len(text) if end is None else end):
        yield Placeholder(start=match.start(), end=match.end(), name=match[1])


class TextTemplate:
    """A text whose placeholders become values as they are, without any quoting."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.placeholders = tuple(find_placeholders(text))
        self.names = frozenset(each.name for each in self.placeholders)

    def fill(self, values: Mapping[str, str]) -> str:
        """Once, from left to right; a placeholder without a value stays."""
        return replace(
            self.text,
            ((each.start, each.end, values.get(each.name)) for each in self.placeholders),
        )


def replace(text: str, parts: Iterator[tuple[int, int, str | None]]) -> str:
    """The text with (start, end, new) put in, in order; None leaves what is there."""
    pieces: list[str] = []
    at = 0
    for start, end, new in parts:
        if new is not None:
            pieces += (text[at:start], new)
            at = end
    pieces.append(text[at:])
    return "".join(pieces)
