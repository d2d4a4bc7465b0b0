"""What a scope lets through, as conditions of SQL.

Every query over jobs, runs, executions, events, agents and variables adds one of
these; what is filtered out looks exactly like what is not there.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from kronforce.core.access import Scope
from kronforce.store.database import Tx

Condition = sa.ColumnElement[bool]


def in_scope(group: sa.ColumnElement[Any], scope: Scope) -> Condition:
    """Whether a row of this group may be seen; an agent's credential sees none."""
    if scope.agent_id is not None:
        return sa.false()
    if scope.groups is None:
        return sa.true()
    return group.in_(sorted(scope.groups))


def usable_in(tx: Tx, allowed_groups: sa.ColumnElement[Any], scope: Scope) -> Condition:
    """Whether one of the scope's groups may use what has this JSON list; an empty one is for all.

    The same as `core.access.may_see`.
    """
    if scope.groups is None:
        return sa.true()
    return (allowed_groups == "[]") | names_any(tx, allowed_groups, scope.groups)


def names_any(tx: Tx, listed: sa.ColumnElement[Any], groups: Collection[str]) -> Condition:
    """Whether a JSON list of names has any of these."""
    if tx.sqlite:
        names = sa.func.json_each(listed).table_valued("value")
    else:
        names = sa.func.jsonb_array_elements_text(sa.cast(listed, JSONB)).table_valued("value")
    shared = sa.select(sa.literal(1)).select_from(names)
    return shared.where(names.c.value.in_(sorted(groups))).exists()
