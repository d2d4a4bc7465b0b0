"""The two stores' differences, all of them: opening, batched statements, locking.

A `Statement` is written once, with `:name` for the values of a row and `t.` for
the table's own columns, and runs over many rows at a time: on SQLite by
`executemany` of positional parameters (inserts by many rows of `VALUES`), on
PostgreSQL as one statement over `unnest` of one array per column. Rows are
tuples in the order of `params`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect

from kronforce.store import arrays

Row = tuple[Any, ...]

# Keys in one lookup on SQLite: far below its limit of 32,766 parameters.
LOOKUP_KEYS = 1_000

# Rows of one insert on SQLite: fewer cost more turns of the GIL, more gained nothing.
MANY_ROWS = 32


class Cursor(Protocol):
    """What both drivers' cursors have in common."""

    rowcount: int

    def execute(self, sql: str, parameters: Any = ..., /) -> Any: ...
    def executemany(self, sql: str, rows: Any, /) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def fetchone(self) -> Any: ...


def _column(table: Table, param: str) -> Column[Any]:
    """`name`, or `name=column` for a value that is not called like the column it is typed by."""
    return table.c[param.rpartition("=")[2]]


def _names(params: Sequence[str]) -> list[str]:
    return [param.partition("=")[0] for param in params]


class Statement:
    """One statement over a batch of rows, in the words of both stores."""

    def __init__(self, table: Table, params: Sequence[str], sqlite: str, postgresql: str,
                 *, sqlite_many: str = "") -> None:  # fmt: skip
        self.table = table.name
        self._sqlite = sqlite
        self._sqlite_many = sqlite_many
        kinds = [arrays.of_type(_column(table, name).type) for name in params]
        self._literals = [literal for _, literal in kinds]
        typed = ", ".join(f"%s::{array}" for array, _ in kinds)
        self._postgresql = postgresql.replace("{arrays}", typed)

    def run(self, cursor: Cursor, rows: Sequence[Row], *, sqlite: bool) -> int:
        """Execute for all rows; the number of rows inserted or changed."""
        if not rows:
            return 0
        if sqlite:
            return self._run_sqlite(cursor, rows)
        columns = zip(self._literals, zip(*rows, strict=True), strict=True)
        cursor.execute(self._postgresql, [literal(column) for literal, column in columns])
        return cursor.rowcount

    def _run_sqlite(self, cursor: Cursor, rows: Sequence[Row]) -> int:
        """Many rows a step where the statement can: between steps the loop takes the GIL."""
        changed = done = 0
        while self._sqlite_many and len(rows) - done >= MANY_ROWS:
            part = rows[done : done + MANY_ROWS]
            cursor.execute(self._sqlite_many, list(chain.from_iterable(part)))
            changed += cursor.rowcount
            done += MANY_ROWS
        if done < len(rows):
            cursor.executemany(self._sqlite, rows[done:])
            changed += cursor.rowcount
        return changed


class Lookup:
    """`SELECT` of some columns by integer keys, compiled once for each number of keys."""

    def __init__(self, table: Table, *columns: str, key: str, where: str = "") -> None:
        tail = f" AND {where}" if where else ""
        self._head = f"SELECT {', '.join(columns)} FROM {table.name} WHERE {key}"
        self._tail = tail
        self._postgresql = f"{self._head} = ANY(%s::bigint[]){tail}"

    def run(self, cursor: Cursor, keys: Collection[int], *, sqlite: bool) -> list[Any]:
        """The rows, in no particular order."""
        if not sqlite:
            cursor.execute(self._postgresql, [arrays.numbers(list(keys))])
            return cursor.fetchall()
        found: list[Any] = []
        rest = list(keys)
        while rest:
            part, rest = rest[:LOOKUP_KEYS], rest[LOOKUP_KEYS:]
            marks = ",".join("?" * len(part))
            cursor.execute(f"{self._head} IN ({marks}){self._tail}", part)
            found += cursor.fetchall()
        return found


def insert(table: Table, *columns: str, unless_exists: bool = False) -> Statement:
    """`INSERT` of whole rows; with `unless_exists` those whose key is taken are left out."""
    names = ", ".join(columns)
    tail = " ON CONFLICT DO NOTHING" if unless_exists else ""
    marks = ", ".join("?" for _ in columns)
    return Statement(
        table,
        columns,
        f"INSERT INTO {table.name} ({names}) VALUES ({marks}){tail}",
        f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({{arrays}}){tail}",
        sqlite_many=f"INSERT INTO {table.name} ({names}) VALUES "
        f"{', '.join([f'({marks})'] * MANY_ROWS)}{tail}",
    )


def upsert(table: Table, keys: Sequence[str], *columns: str) -> Statement:
    """`INSERT`, or set all other columns of the row that has the keys."""
    sets = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
    tail = f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets}"
    names, marks = ", ".join(columns), ", ".join("?" for _ in columns)
    return Statement(
        table,
        columns,
        f"INSERT INTO {table.name} ({names}) VALUES ({marks}){tail}",
        f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({{arrays}}){tail}",
    )


def update(table: Table, params: Sequence[str], *, set_: str, where: str) -> Statement:
    """`UPDATE t SET … WHERE …` per row, over `:name` values and `t.` columns.

    Rows of one batch must name different table rows: PostgreSQL joins the batch once.
    """
    return Statement(
        table,
        params,
        f"UPDATE {table.name} AS t SET {_numbered(set_, params)} WHERE {_numbered(where, params)}",
        f"UPDATE {table.name} AS t SET {_joined(set_)} "
        f"FROM unnest({{arrays}}) AS u({', '.join(_names(params))}) WHERE {_joined(where)}",
    )


def delete(table: Table, params: Sequence[str], *, where: str) -> Statement:
    """`DELETE FROM t WHERE …` per row."""
    return Statement(
        table,
        params,
        f"DELETE FROM {table.name} AS t WHERE {_numbered(where, params)}",
        f"DELETE FROM {table.name} AS t USING unnest({{arrays}}) AS u({', '.join(_names(params))}) "
        f"WHERE {_joined(where)}",
    )


_VALUE = re.compile(r"(?<!:):(\w+)")


def _numbered(sql: str, params: Sequence[str]) -> str:
    places = {name: number for number, name in enumerate(_names(params), 1)}
    return _VALUE.sub(lambda found: f"?{places[found[1]]}", sql)


def _joined(sql: str) -> str:
    return _VALUE.sub(r"u.\1", sql)


def insert_into(table: Table, *, sqlite: bool) -> sqlite_dialect.Insert | postgresql.Insert:
    """Core's `INSERT` with the store's own `on_conflict_…` methods, which read alike."""
    return sqlite_dialect.insert(table) if sqlite else postgresql.insert(table)


def insert_unless_taken(
    cursor: Cursor, table: Table, values: Mapping[str, Any], *, sqlite: bool
) -> int | None:
    """Insert one row and give its `key`; None if a unique column's value is taken."""
    cursor.execute(_unless_taken(table, tuple(values), sqlite), list(values.values()))
    row = cursor.fetchone()
    return None if row is None else row[0]


@lru_cache(maxsize=64)
def _unless_taken(table: Table, names: tuple[str, ...], sqlite: bool) -> str:
    marks = ", ".join(["?" if sqlite else "%s"] * len(names))
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks}) "
        "ON CONFLICT DO NOTHING RETURNING key"
    )
