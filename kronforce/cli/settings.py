"""The flags that every command takes, wherever they stand on the line.

They are taken out of the arguments before the command's own parser sees the rest, so that no
command declares them. What stands after `--` is never touched. Imports nothing heavy: help and
`version` come through here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FORMATS = ("table", "wide", "json", "jsonl", "yaml", "name")
_WITH_VALUE = {
    "--address": "address",
    "--key": "key",
    "--ca": "ca_file",
    "--context": "context",
    "--output": "output",
    "-o": "output",
    "--log-level": "log_level",
}
_SWITCHES = {
    "--insecure": "insecure",
    "--utc": "utc",
    "--no-color": "no_color",
    "--quiet": "quiet",
    "-q": "quiet",
}


class UsageError(Exception):
    """The line cannot be understood; `next_step` says what would be."""

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the line and the environment say for every command."""

    address: str = ""
    key: str = ""
    ca_file: str = ""
    context: str = ""
    output: str = ""
    log_level: str = "warning"
    insecure: bool = False
    utc: bool = False
    no_color: bool = False
    quiet: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def colours(self, is_terminal: bool) -> bool:
        """Whether to colour what goes to a stream."""
        environ = self.environ
        plain = self.no_color or environ.get("NO_COLOR") or environ.get("TERM") == "dumb"
        return is_terminal and not plain


def split_settings(arguments: Sequence[str]) -> tuple[Settings, list[str]]:
    """The settings on a line, and the rest of it. Raises UsageError."""
    found: dict[str, str | bool] = {}
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            rest += [word, *waiting]
            break
        flag, equals, value = word.partition("=")
        if word in _SWITCHES:
            found[_SWITCHES[word]] = True
        elif flag in _WITH_VALUE:
            found[_WITH_VALUE[flag]] = value if equals else _next(flag, waiting)
        else:
            rest.append(word)
    return _checked(found), rest


def _next(flag: str, waiting: list[str]) -> str:
    if not waiting:
        raise UsageError(f"{flag} needs a value")
    return waiting.pop(0)


def _checked(found: Mapping[str, str | bool]) -> Settings:
    chosen = str(found.get("output", ""))
    if chosen and chosen not in FORMATS:
        raise UsageError(f'"{chosen}" is not an output format', f"one of: {', '.join(FORMATS)}")
    return Settings(**found)  # type: ignore[arg-type]  # the tables above name its fields
