"""`db current` and `db migrate`: the schema of the controller's database."""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kronforce.cli.exit_codes import Exit
from kronforce.cli.host_flags import HostFlags, told
from kronforce.cli.session import Session, current
from kronforce.cli.show import as_yaml, facts, is_data

if TYPE_CHECKING:
    from kronforce.host.schema import SchemaState


def current_schema(flags: HostFlags | None = None) -> int:
    """Which schema the database has, and which this version needs; 9 if they differ.

    Parameters
    ----------
    flags
        Which controller's files.
    """
    from kronforce.host import schema

    session = current()
    with told():
        states = schema.current((flags or HostFlags()).load())
    _show(session, states)
    return Exit.FINE if all(each.current == each.newest for each in states) else Exit.ANSWER_IS_NO


def migrate(flags: HostFlags | None = None) -> None:
    """Bring the schema to this version's, while no controller runs.

    SQLite files are copied first, beside themselves; of PostgreSQL make a backup.

    Parameters
    ----------
    flags
        Which controller's files.
    """
    from kronforce.host import schema

    session = current()
    with told():
        config = (flags or HostFlags()).load()
        before = schema.upgrade(config)
    if is_data(session):
        _print(session, [{"part": s.part, "before": s.current, "after": s.newest} for s in before])
        return
    for each in before:
        print(f"{each.part}\t{_step(each)}" if session.output == "tabs" else _sentence(each))
    if config.sqlite and any(each.pending and each.current for each in before):
        session.say("the files as they were are kept beside them (*.before-upgrade-from-*)")


def _show(session: Session, states: list[SchemaState]) -> None:
    if is_data(session):
        rows = [
            {"part": s.part, "current": s.current, "newest": s.newest, "state": _word(s)}
            for s in states
        ]
        _print(session, rows)
        return
    facts(
        session, [(each.part, f"{each.current or 'none'} ({_explained(each)})") for each in states]
    )


def _print(session: Session, rows: list[dict[str, str | None]]) -> None:
    print(as_yaml(rows) if session.output == "yaml" else json.dumps(rows, indent=2))


def _word(state: SchemaState) -> str:
    if state.restoring:
        return "restoring"
    if not state.known:
        return "newer"
    return "to_migrate" if state.pending else "current"


def _explained(state: SchemaState) -> str:
    return {
        "restoring": "a restore was not finished: repeat kronforce restore FILE --force",
        "newer": f"made by a newer version; this one knows up to {state.newest}",
        "to_migrate": f"this version needs {state.newest}: kronforce db migrate",
        "current": "current",
    }[_word(state)]


def _sentence(state: SchemaState) -> str:
    return f"{state.part:<7} {_step(state)}"


def _step(state: SchemaState) -> str:
    return f"{state.current or 'new'} -> {state.newest}" if state.pending else "unchanged"
