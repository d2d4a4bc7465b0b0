"""Looking for rows in one state, so that the partial indexes over states serve it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from kronforce.core.lifecycle import State


def in_state(column: sa.ColumnElement[Any], state: int) -> sa.ColumnElement[bool]:
    """Whether the column has this state."""
    if state <= State.SUCCEEDED:
        return column == state
    # Neither store uses the index of `runs_unhappy` unless the query says its condition, literally.
    return (column == state) & (column > sa.literal_column(str(int(State.SUCCEEDED))))
