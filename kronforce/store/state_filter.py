"""Looking for rows by state or phase, so that the partial indexes over them serve it.

Neither store takes a partial index unless the query says the index's condition,
word for word and with literal numbers: a bound one could be anything.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from kronforce.core.lifecycle import State
from kronforce.store.tables import Phase, executions


def in_state(column: sa.ColumnElement[Any], state: int) -> sa.ColumnElement[bool]:
    """Whether the column has this state."""
    if state <= State.SUCCEEDED:
        return column == state
    return (column == state) & (column > sa.literal_column(str(int(State.SUCCEEDED))))


def in_phase(phase: int) -> sa.ColumnElement[bool]:
    """Whether an execution is in this phase."""
    exactly = executions.c.phase == sa.literal_column(str(phase))
    if phase == Phase.CONCURRENCY:
        return exactly & IS_WAITING
    return exactly & IS_HELD if phase in _HELD else exactly


def _one_of(phases: tuple[int, ...]) -> sa.ColumnElement[bool]:
    return executions.c.phase.in_([sa.literal_column(str(phase)) for phase in phases])


_WAITING = (Phase.READY, Phase.CONCURRENCY)
_HELD = (Phase.ASSIGNED, Phase.RUNNING)

# It waits for an agent or for a limit (index `executions_deadline`).
IS_WAITING = _one_of(_WAITING)

# An agent has it, or may have it (index `executions_held`).
IS_HELD = _one_of(_HELD)
