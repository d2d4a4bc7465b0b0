"""Events: the outbox, read as pages or followed by cursor.

Rows are written with the change that they tell of and never change. Those of
the hot path carry no text: it is made when they are read. Followers see each
event once and in commit order (`commit_order.py`); one whose cursor retention
has overtaken is told so instead of missing what was deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from kronforce.core.access import Scope
from kronforce.errors import OutOfRange
from kronforce.store import commit_order, counters, dialect
from kronforce.store.commit_order import Position
from kronforce.store.database import Tx
from kronforce.store.event_text import message_of, outcomes
from kronforce.store.keyset import fetch_page
from kronforce.store.paging import Page, PageRequest
from kronforce.store.tables import agents, events
from kronforce.store.visibility import in_scope, usable_in

# Events looked at in one call by a follower whose filters let few through.
SCAN_LIMIT = 5_000

# The last position that retention has deleted, in two counters.
GONE_XID = "events_gone_xid"
GONE_SEQ = "events_gone_seq"

_INSERT = dialect.insert(
    events, "kind", "severity", "at", "message", "actor", "job_id", "job_name", "group_name",
    "run_id", "execution_id", "agent_id", "payload",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """An event to write; `payload` is a serialised `google.protobuf.Struct`."""

    kind: str
    severity: int
    at: int
    message: str
    actor: str
    job_id: bytes | None = None
    job_name: str = ""
    group_name: str = ""
    run_id: bytes | None = None
    execution_id: bytes | None = None
    agent_id: bytes | None = None
    payload: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRow:
    """An event, with the cursor that goes on after it."""

    cursor: Position
    kind: str
    severity: int
    at: int
    message: str
    actor: str
    job_id: bytes | None
    job_name: str
    group_name: str
    run_id: bytes | None
    execution_id: bytes | None
    agent_id: bytes | None
    payload: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EventFilter:
    """What to show; everything that is set must hold.

    `kind` is an exact kind, or a prefix with `*` (so also `ns.*`).
    """

    kind: str | None = None
    severity: int | None = None
    job_id: bytes | None = None
    since: int | None = None


EVERYTHING = EventFilter()


def insert_events(tx: Tx, rows: Sequence[NewEvent]) -> None:
    """Write events into the transaction that makes what they tell of."""
    tx.run(_INSERT, [tuple(getattr(row, name) for name in NewEvent.__slots__) for row in rows])


def list_events(
    tx: Tx, scope: Scope, *, filters: EventFilter = EVERYTHING, page: PageRequest
) -> Page[EventRow]:
    """Events, newest first."""
    found = fetch_page(
        tx,
        _visible(tx, scope, filters),
        order=(events.c.seq,),
        newest_first=True,
        page=page,
        make=_event,
        key=lambda row: (row.cursor[1],),
    )
    return replace(found, items=_with_text(tx, found.items))


def events_after(
    tx: Tx, scope: Scope, cursor: Position, filters: EventFilter = EVERYTHING, limit: int = 1_000
) -> tuple[list[EventRow], Position]:
    """What came after the cursor, oldest first, and the cursor to go on with.

    That cursor moves on also when the filters hid everything; call again at
    once if it moved. Raises OutOfRange if events after `cursor` are deleted.
    """
    if cursor < gone_through(tx):
        raise OutOfRange("events after this cursor are no longer kept; start without a cursor")
    end = _scan_end(tx, cursor)
    query = _visible(tx, scope, filters).where(
        commit_order.after(tx, cursor), commit_order.up_to(tx, end)
    )
    query = query.order_by(*commit_order.columns_in_order(tx)).limit(limit)
    rows = [_event(row) for row in tx.conn.execute(query)]
    following = rows[-1].cursor if len(rows) == limit else max(cursor, end)
    return _with_text(tx, rows), following


def newest_event_at(tx: Tx) -> int | None:
    """When the newest event was made; None without any."""
    return tx.conn.scalar(sa.select(events.c.at).order_by(events.c.seq.desc()).limit(1))


def latest_cursor(tx: Tx) -> Position:
    """Where a follower begins who wants what comes from now on."""
    return max(commit_order.horizon(tx), gone_through(tx))


def gone_through(tx: Tx) -> Position:
    """The position of the last event that retention has deleted."""
    return counters.value_of(tx, GONE_XID), counters.value_of(tx, GONE_SEQ)


def _scan_end(tx: Tx, cursor: Position) -> Position:
    end = commit_order.horizon(tx)
    query = (
        sa.select(commit_order.position_column(tx), events.c.seq)
        .where(commit_order.after(tx, cursor), commit_order.up_to(tx, end))
        .order_by(*commit_order.columns_in_order(tx))
        .offset(SCAN_LIMIT - 1)
        .limit(1)
    )
    row = tx.conn.execute(query).one_or_none()
    return end if row is None else (row[0], row[1])


def _visible(tx: Tx, scope: Scope, filters: EventFilter) -> sa.Select[Any]:
    columns = [column for column in events.c if column.name != "seq"]
    place = commit_order.position_column(tx).label("place")
    query = sa.select(place, events.c.seq, *columns).where(_allowed(tx, scope))
    if filters.kind and filters.kind != "*":
        query = query.where(_of_kind(filters.kind))
    if filters.severity:
        query = query.where(events.c.severity == filters.severity)
    if filters.job_id is not None:
        query = query.where(events.c.job_id == filters.job_id)
    if filters.since is not None:
        query = query.where(events.c.at >= filters.since)
    return query


def _allowed(tx: Tx, scope: Scope) -> sa.ColumnElement[bool]:
    # Agents are seen by those whose groups may use them; keys by those who may list them.
    allowed = in_scope(events.c.group_name, scope)
    if scope.agent_id is None and scope.groups is not None:
        usable = sa.select(agents.c.id).where(usable_in(tx, agents.c.allowed_groups, scope))
        about_agents = (events.c.group_name == "") & events.c.kind.like("agent.%")
        allowed = allowed | (about_agents & events.c.agent_id.in_(usable))
    return allowed if scope.grants("keys.admin") else allowed & events.c.kind.not_like("key.%")


def _of_kind(pattern: str) -> sa.ColumnElement[bool]:
    if not pattern.endswith("*"):
        return events.c.kind == pattern
    prefix = pattern[:-1]
    return (events.c.kind >= prefix) & (events.c.kind < prefix[:-1] + chr(ord(prefix[-1]) + 1))


def _event(row: sa.Row[Any]) -> EventRow:
    values = row._asdict()
    cursor = (values.pop("place"), values.pop("seq"))
    return EventRow(cursor=cursor, **values)


def _with_text(tx: Tx, rows: list[EventRow]) -> list[EventRow]:
    known = outcomes(tx, rows)
    return [row if row.message else replace(row, message=message_of(row, known)) for row in rows]
