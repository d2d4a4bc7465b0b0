"""What is wrong with a document: where, what, and what would be right.

Reading goes on after a mistake, so that a person sees all of them at once, up to a limit.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

Path = tuple[str | int, ...]

# A document with more mistakes than this is not what its author thinks it is.
MAX_PROBLEMS = 50

# More names than this are not read but skipped.
MAX_NAMED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake. `path` leads to the value, or to the key when that is unknown."""

    path: Path
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = path_text(self.path)
        text = f"{where}: {self.message}" if where else self.message
        return f"{text}; {self.hint}" if self.hint else text


class DialectError(ValueError):
    """A document cannot be read as the message that was asked for."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = list(problems)


def path_text(path: Path) -> str:
    """`task.headers[2]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """`did you mean "schedule"?`, or nothing when nothing is near."""
    near = difflib.get_close_matches(wrong.lower(), list(known), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""


def all_of(known: Collection[str]) -> str:
    """`here may stand: name, type`, where they are few enough to be read."""
    return f"here may stand: {', '.join(sorted(known))}" if len(known) <= MAX_NAMED else ""


def described(value: object) -> str:
    """A wrong value, short, for a message."""
    kinds = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        type(None): "null",
    }
    for kind in type(value).__mro__:
        if kind in kinds:
            return kinds[kind]
    return type(value).__name__
