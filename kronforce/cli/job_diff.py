"""The difference that an apply would make, by meaning: one line per value."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from kronforce.cli.session import Session
from kronforce_client import Change, Planned, dialect

_GREEN, _RED, _YELLOW, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


def print_plan(session: Session, plans: Sequence[Planned]) -> None:
    """The whole difference, on stderr: what is done comes on stdout."""
    colours = session.settings.colours(sys.stderr.isatty())
    for plan in plans:
        for line in plan_lines(plan):
            print(_coloured(line) if colours else line, file=sys.stderr)


def plan_lines(plan: Planned) -> list[str]:
    """The difference of one job."""
    if plan.action == "create":
        written = dialect.render(plan.wanted, omit_defaults=True)
        return [f"+ {plan.wanted.name}", *(f"+   {key}: {_text(written[key])}" for key in written)]
    if plan.action == "update":
        return [f"~ {plan.wanted.name}", *map(_change_line, plan.changes)]
    return []


def _change_line(change: Change) -> str:
    if change.before is None:
        return f"+   {change.path}: {_text(change.after)}"
    if change.after is None:
        return f"-   {change.path}: {_text(change.before)}"
    return f"~   {change.path}: {_text(change.before)} → {_text(change.after)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) and "\n" not in value else dialect.dumps(value)


def _coloured(line: str) -> str:
    colour = {"+": _GREEN, "-": _RED, "~": _YELLOW}.get(line[0], "")
    return f"{colour}{line}{_RESET}"
