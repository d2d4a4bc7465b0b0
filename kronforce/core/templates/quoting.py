"""How a placeholder in a shell command becomes a reference to an environment variable.

What the shell expands it never reads again as source, so the value stays data whatever it holds;
the form only decides that it arrives whole (no splitting, no file name patterns).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from kronforce.core.templates.placeholder import Placeholder, replace


class Quoting(Enum):
    """What stands around a placeholder, and so what takes its place; % is the variable."""

    BARE = '"${%s}"'
    DOUBLE = "${%s}"
    """Inside double quotes, and in a here-document that the shell expands."""
    SINGLE = "'\"${%s}\"'"
    """Single quotes are closed for it and opened again."""
    AFTER_BACKSLASH = "\\${%s}"
    r"""As DOUBLE, after a `\` that means itself: it must not take the `$` with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """A placeholder in a command and what stands around it."""

    at: Placeholder
    quoting: Quoting


class CommandTemplate:
    """A command and its slots. `variables` gives each name its environment variable."""

    def __init__(self, command: str, slots: tuple[Slot, ...], taken: str) -> None:
        """`taken`: texts that may name variables of their own; none of those is used."""
        self._command = command
        self._slots = slots
        names = dict.fromkeys(slot.at.name for slot in slots)
        self.variables = dict(zip(names, _free_names(len(names), taken), strict=True))

    def render(self, resolved: Collection[str]) -> str:
        """The command with references in place of what is resolved; the rest stays."""
        return replace(
            self._command,
            (
                (
                    slot.at.start,
                    slot.at.end,
                    slot.quoting.value % self.variables[slot.at.name]
                    if slot.at.name in resolved
                    else None,
                )
                for slot in self._slots
            ),
        )


def _free_names(count: int, taken: str) -> list[str]:
    """KF_V1, KF_V2, … without those that the job itself speaks of."""
    names: list[str] = []
    number = 0
    while len(names) < count:
        number += 1
        if f"KF_V{number}" not in taken:
            names.append(f"KF_V{number}")
    return names
