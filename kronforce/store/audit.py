"""The audit log: noted by use cases, chained as their batch ends, read as pages.

`note` hangs an entry on the transaction; the committer gives all entries of a
batch their places in the chain (`audit_chain.py`) as its last statement, so
that a change and its entry are committed together or not at all. A row never
changes; only retention removes rows (`audit_retention.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from kronforce.store.database import Tx
from kronforce.store.keyset import fetch_page
from kronforce.store.paging import Page, PageRequest
from kronforce.store.tables import audit

# A row's key is chain_id * 2^40 + its place: one index serves order, lookup and cutting. Room
# for 8 million lives of controllers and a million million entries in each.
CHAIN_BITS = 40
CHAINS_MAX = 1 << (63 - CHAIN_BITS)


class Actor(Protocol):
    """Who does it, and from where; `api.call.Principal` is one."""

    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def peer(self) -> str: ...
    @property
    def surface(self) -> str: ...


class KeyedActor(Actor, Protocol):
    """One whose requests are told apart from those of others, by the row of its key."""

    @property
    def key(self) -> int: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEntry:
    """What one principal did. `detail` is what `core.audit_detail` made."""

    at: int
    actor: Actor
    operation: str
    resource_type: str
    resource_id: str = ""
    resource_name: str = ""
    group: str = ""
    refused: bool = False
    detail: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRow:
    """An entry as it is kept."""

    key: int
    at: int
    actor: str
    actor_id: str
    operation: str
    resource_type: str
    resource_id: str
    resource_name: str
    group_name: str
    refused: bool
    peer: str
    surface: str
    detail: bytes
    hash: bytes

    @property
    def chain_id(self) -> int:
        return self.key >> CHAIN_BITS

    @property
    def seq(self) -> int:
        return self.key & ((1 << CHAIN_BITS) - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditFilter:
    """What to show; everything that is set must hold.

    `operation` is an exact one, or a prefix with `*`; `actor` and `resource` are ids or names.
    """

    operation: str | None = None
    actor: str | None = None
    resource: str | None = None
    since: int | None = None
    until: int | None = None
    refused: bool = False


EVERYTHING = AuditFilter()


def note(tx: Tx, entry: NewEntry) -> None:
    """Have the entry written with this transaction. An error of the use case takes it back."""
    tx.noted.append(entry)


def list_audit(tx: Tx, *, filters: AuditFilter = EVERYTHING, page: PageRequest) -> Page[AuditRow]:
    """Entries, newest first. No scope: the log is the admins', who see every group."""
    return fetch_page(
        tx,
        _matching(filters),
        order=(audit.c.at, audit.c.key),
        newest_first=True,
        page=page,
        make=audit_row,
        key=lambda row: (row.at, row.key),
    )


def audit_row(row: sa.Row[Any]) -> AuditRow:
    """The dataclass of a row of `audit`."""
    return AuditRow(**row._asdict())


def _matching(filters: AuditFilter) -> sa.Select[Any]:
    query = sa.select(audit)
    if filters.operation and filters.operation != "*":
        query = query.where(_of_operation(filters.operation))
    if filters.actor:
        query = query.where((audit.c.actor == filters.actor) | (audit.c.actor_id == filters.actor))
    if filters.resource:
        name = filters.resource
        query = query.where((audit.c.resource_id == name) | (audit.c.resource_name == name))
    if filters.since is not None:
        query = query.where(audit.c.at >= filters.since)
    if filters.until is not None:
        query = query.where(audit.c.at < filters.until)
    return query.where(audit.c.refused) if filters.refused else query


def _of_operation(pattern: str) -> sa.ColumnElement[bool]:
    if not pattern.endswith("*"):
        return audit.c.operation == pattern
    prefix = pattern[:-1]
    after = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return (audit.c.operation >= prefix) & (audit.c.operation < after)
