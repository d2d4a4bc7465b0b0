"""How runs that went wrong ended, in the words of the execution that decided it.

A run's own row has the reason alone. Asked for pages of runs: by run, and only for those that
did not succeed, so that a page of good ones costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from kronforce.core.lifecycle import TERMINAL, State
from kronforce.store.database import Tx
from kronforce.store.runs import RunRow
from kronforce.store.tables import executions, runs

# Of an agent's words, what a list shows at most: a page has up to 1,000 runs.
MESSAGE_SHOWN = 200

_WENT_WRONG = TERMINAL - {State.SUCCEEDED, State.SKIPPED}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnd:
    """What was said of the execution whose end is the run's."""

    message: str
    exit_code: int | None
    signal: int


def ends_of(tx: Tx, rows: Iterable[RunRow]) -> Mapping[int, RunEnd]:
    """By run key; the last of its executions that ended in the run's state for its reason."""
    wrong = [row.key for row in rows if row.state in _WENT_WRONG]
    if not wrong:
        return {}
    e = executions.c
    decided = (
        sa.select(sa.func.max(e.key))
        .join(runs, runs.c.key == e.run_key)
        .where(e.run_key.in_(wrong), e.state == runs.c.state)
        .where(e.state_reason == runs.c.state_reason)
        .group_by(e.run_key)
    )
    said = sa.func.substr(e.message, 1, MESSAGE_SHOWN).label("message")
    query = sa.select(e.run_key, e.exit_code, e.signal, said).where(e.key.in_(decided))
    return {
        row.run_key: RunEnd(message=row.message, exit_code=row.exit_code, signal=row.signal)
        for row in tx.conn.execute(query)
    }
