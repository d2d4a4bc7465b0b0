"""Queries that are asked so often that building them costs more than answering them.

A `Prepared` is a Core query over named parameters, compiled to the store's own text when it is
first asked and run through the driver's cursor from then on. Rows are plain tuples in the order of
its columns; nothing converts them, so it selects numbers, text and bytes alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kronforce.core.access import Scope
from kronforce.store.database import Tx

Build = Callable[[bool], "sa.Select[Any]"]


class Prepared:
    """`build(sqlite)` gives the query, with `sa.bindparam("name")` for what changes."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._texts: dict[bool, tuple[str, list[str] | None, dict[str, Any]]] = {}

    def run(self, tx: Tx, **values: Any) -> list[Any]:
        """All rows."""
        text, order, constants = self._texts.get(tx.sqlite) or self._compile(tx)
        values = {**constants, **values}
        if order is None:
            tx.cursor.execute(text, values)
        else:
            tx.cursor.execute(text, [values[name] for name in order])
        return tx.cursor.fetchall()

    def _compile(self, tx: Tx) -> tuple[str, list[str] | None, dict[str, Any]]:
        compiled = self._build(tx.sqlite).compile(dialect=tx.conn.dialect)
        order = list(compiled.positiontup or ()) if tx.sqlite else None
        made = (str(compiled), order, dict(compiled.params))
        self._texts[tx.sqlite] = made
        return made


def keys_parameter(name: str, *, sqlite: bool) -> sa.TableValuedAlias:
    """Numbers as rows with one column, `value`: one parameter, however many they are."""
    given = sa.bindparam(name, type_=sa.Text)
    if sqlite:
        return sa.func.json_each(given).table_valued("value")
    numbers = sa.cast(given, ARRAY(sa.BigInteger))
    return sa.func.unnest(numbers).table_valued("value").render_derived()


def keys_value(tx: Tx, keys: Iterable[int]) -> str:
    """What goes with it."""
    text = json.dumps(list(keys))
    return text if tx.sqlite else f"{{{text[1:-1]}}}"


def scope_parameter(group: sa.ColumnElement[Any], *, sqlite: bool) -> sa.ColumnElement[bool]:
    """What `visibility.in_scope` says, with the scope as the parameter `groups`."""
    given = sa.bindparam("groups", type_=sa.Text)
    if sqlite:
        names: Any = sa.select(sa.func.json_each(given).table_valued("value").c.value)
    else:
        names = sa.select(sa.func.jsonb_array_elements_text(sa.cast(given, JSONB)).column_valued())
    return given.is_(None) | group.in_(names)


def scope_value(scope: Scope) -> str | None:
    """What goes with it; an agent's credential sees no group."""
    if scope.agent_id is not None:
        return "[]"
    return None if scope.groups is None else json.dumps(sorted(scope.groups))


# No name is as long, in lower case either; SQLite refuses patterns of more than 50,000 bytes.
LIKE_MAX = 1_000


def like(text: str) -> str:
    """The pattern of what contains the text, in any case."""
    escaped = text[:LIKE_MAX].lower().replace("/", "//").replace("%", "/%").replace("_", "/_")
    return f"%{escaped}%"


def is_like(column: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[bool]:
    """Whether a column that is in lower case fits the pattern of the parameter."""
    return column.like(sa.bindparam(name, type_=sa.Text), escape="/")
