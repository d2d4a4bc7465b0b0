"""What a scope lets through, as conditions of SQL.

Every query over jobs, runs, executions and events adds one of these; what is
filtered out looks exactly like what is not there.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from kronforce.core.access import Scope

Condition = sa.ColumnElement[bool]


def in_scope(group: sa.ColumnElement[Any], scope: Scope) -> Condition:
    """Whether a row of this group may be seen; an agent's credential sees none."""
    if scope.agent_id is not None:
        return sa.false()
    if scope.groups is None:
        return sa.true()
    return group.in_(sorted(scope.groups))
