"""Agents: who they are, and their session.

The session's epoch rises with every takeover; whoever writes for a session
names its epoch and changes nothing under an older one. Losing a session writes
`disconnected_at` here and touches no execution.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import sqlalchemy as sa

from kronforce.core import ids
from kronforce.core.access import Scope
from kronforce.errors import AgentNotFound, AlreadyExists
from kronforce.store import dialect
from kronforce.store.database import Tx
from kronforce.store.keyset import fetch_page
from kronforce.store.paging import Page, PageRequest
from kronforce.store.tables import agents
from kronforce.store.visibility import usable_in

# All agents of one controller at once; beyond it lists go by pages.
AGENTS_LIMIT = 20_000

_TOUCH = dialect.update(
    agents, ("key", "last_seen_at"), set_="last_seen_at = :last_seen_at", where="t.key = :key"
)

_OPEN = dialect.update(
    agents,
    ("key", "boot_id", "controller", "facts", "slots", "task_types", "clock_skew_ms",
     "now=last_seen_at"),
    set_="boot_id = :boot_id, controller = :controller, facts = :facts, slots = :slots, "
    "task_types = :task_types, clock_skew_ms = :clock_skew_ms, last_seen_at = :now, "
    "session_epoch = t.session_epoch + 1, revision = t.revision + 1, disconnected_at = NULL",
    where="t.key = :key AND t.deleted_at IS NULL",
)  # fmt: skip


class AgentState(IntEnum):
    """Whether an agent can be given work; the numbers of the contract."""

    ONLINE = 1
    OFFLINE = 2
    DRAINING = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentRow:
    """An agent; `facts` is a serialised `kronforce.v1.AgentFacts`."""

    key: int
    id: bytes
    name: str
    credential_hash: bytes | None
    registered_by: str
    agent_type: int
    built_in: bool
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    task_types: tuple[str, ...]
    facts: bytes
    slots: int
    draining: bool
    boot_id: str
    session_epoch: int
    controller: str
    clock_skew_ms: int
    revision: int
    created_at: int
    last_seen_at: int | None
    disconnected_at: int | None
    deleted_at: int | None
    allowed_groups: tuple[str, ...]
    # A serialised `kronforce.v1.SetAgentTaskTypesResponse`; None: nothing was defined.
    definitions: bytes | None

    @property
    def state(self) -> AgentState:
        """Draining wins: such an agent gets nothing new, connected or not."""
        if self.draining:
            return AgentState.DRAINING
        return AgentState.ONLINE if self.disconnected_at is None else AgentState.OFFLINE


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """Whom a credential stands for."""

    hash: bytes
    key: int
    id: bytes
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """What an agent says as it takes its session over; `facts` as in its row."""

    agent_key: int
    boot_id: str
    facts: bytes
    slots: int
    task_types: Sequence[str]
    skew_ms: int = 0
    # The newest assignment that it knows of; 0: none.
    highest_fence: int = 0


def insert_agent(
    tx: Tx,
    *,
    id: bytes,  # noqa: A002 - the column's name
    name: str,
    credential_hash: bytes | None,
    registered_by: str,
    agent_type: int,
    built_in: bool,
    tags: Sequence[str],
    labels: Mapping[str, str],
    task_types: Sequence[str],
    facts: bytes,
    slots: int,
    now: int,
    allowed_groups: Sequence[str] = (),
) -> AgentRow:
    """Enrol an agent that has no session yet. Raises AlreadyExists if the name is taken."""
    values = {
        "id": id,
        "name": name,
        "credential_hash": credential_hash,
        "registered_by": registered_by,
        "agent_type": agent_type,
        "built_in": built_in,
        "tags": _words(tags),
        "labels": _pairs(labels),
        "task_types": _words(task_types),
        "facts": facts,
        "slots": slots,
        "draining": False,
        "boot_id": "",
        "session_epoch": 0,
        "controller": "",
        "clock_skew_ms": 0,
        "revision": 1,
        "created_at": now,
        "disconnected_at": now,
        "allowed_groups": _words(allowed_groups),
    }
    key = tx.insert_unless_taken(agents, values)
    if key is None:
        raise AlreadyExists(f"an agent named {name!r} exists; choose another name", name=name)
    return get_agent(tx, key)


def find_agent(tx: Tx, ref: str) -> AgentRow | None:
    """The agent of this id or exact name, unless it is deleted."""
    raw = ids.from_text(ref)
    named = agents.c.name == ref if raw is None else agents.c.id == raw
    return _maybe(tx, _live().where(named))


def visible_agent(tx: Tx, scope: Scope, ref: str) -> AgentRow | None:
    """The same, unless it is kept for groups outside the scope."""
    raw = ids.from_text(ref)
    named = agents.c.name == ref if raw is None else agents.c.id == raw
    return _maybe(tx, _visible(tx, scope).where(named))


def get_agent(tx: Tx, key: int) -> AgentRow:
    """The agent of this key, also a deleted one."""
    return _agent(tx.conn.execute(sa.select(agents).where(agents.c.key == key)).one())


def get_agent_by_credential(tx: Tx, hash: bytes) -> AgentRow | None:  # noqa: A002 - as in keys
    """The agent whose credential has this hash, unless it is deleted."""
    return _maybe(tx, _live().where(agents.c.credential_hash == hash))


def holders_of(tx: Tx, hashes: Sequence[bytes]) -> list[Holder]:
    """Whose credentials these hashes are; those of deleted agents are nobody's."""
    a = agents.c
    query = sa.select(a.credential_hash, a.key, a.id, a.name)
    query = query.where(a.deleted_at.is_(None), a.credential_hash.in_(hashes))
    return [
        Holder(hash=row.credential_hash, key=row.key, id=row.id, name=row.name)
        for row in tx.conn.execute(query)
    ]


def list_agents(
    tx: Tx, scope: Scope, *, page: PageRequest, state: int | None = None, tag: str | None = None
) -> Page[AgentRow]:
    """Agents in scope, by name."""
    query = _visible(tx, scope)
    if state:
        query = query.where(_in_state(state))
    if tag:
        # Tags are JSON: one is found whole between its quotes, on both stores.
        query = query.where(sa.func.replace(agents.c.tags, json.dumps(tag), "") != agents.c.tags)
    return fetch_page(
        tx,
        query,
        order=(agents.c.name,),
        newest_first=False,
        page=page,
        make=_agent,
        key=lambda row: (row.name,),
    )


def all_agents(tx: Tx) -> list[AgentRow]:
    """Every agent that is not deleted."""
    rows = tx.conn.execute(_live().order_by(agents.c.key).limit(AGENTS_LIMIT))
    return [_agent(row) for row in rows]


def update_registration(
    tx: Tx,
    *,
    key: int,
    credential_hash: bytes | None,
    registered_by: str,
    agent_type: int,
    tags: Sequence[str],
    labels: Mapping[str, str],
    task_types: Sequence[str],
    facts: bytes,
    slots: int,
) -> AgentRow:
    """Enrol a known agent again, with a new credential."""
    return _change(
        tx,
        key,
        credential_hash=credential_hash,
        registered_by=registered_by,
        agent_type=agent_type,
        tags=_words(tags),
        labels=_pairs(labels),
        task_types=_words(task_types),
        facts=facts,
        slots=slots,
    )


def open_sessions(
    tx: Tx, openings: Sequence[Opening], *, controller: str, now: int
) -> dict[int, AgentRow]:
    """Take over a session of each agent, under its new epoch; without those that are deleted.

    Each agent once.
    """
    tx.run(
        _OPEN,
        [
            (o.agent_key, o.boot_id, controller, o.facts, o.slots, _words(o.task_types),
             o.skew_ms, now)
            for o in openings
        ],
    )  # fmt: skip
    query = _live().where(agents.c.key.in_([o.agent_key for o in openings]))
    return {row.key: _agent(row) for row in tx.conn.execute(query)}


def close_session(tx: Tx, key: int, epoch: int, now: int) -> bool:
    """Note that the session ended; False if it is not this epoch's any more."""
    update = (
        sa.update(agents)
        .where(
            agents.c.key == key,
            agents.c.session_epoch == epoch,
            agents.c.disconnected_at.is_(None),
        )
        .values(disconnected_at=now, revision=agents.c.revision + 1)
        .returning(agents.c.key)
    )
    return tx.conn.execute(update).first() is not None


def close_sessions(tx: Tx, controller: str, now: int) -> int:
    """Note that every session of a controller ended: it is going, or was killed before."""
    update = (
        sa.update(agents)
        .where(agents.c.controller == controller, agents.c.disconnected_at.is_(None))
        .values(disconnected_at=now, revision=agents.c.revision + 1)
        .returning(agents.c.key)
    )
    return len(tx.conn.execute(update).all())


def touch_agents(tx: Tx, pairs: Sequence[tuple[int, int]]) -> None:
    """Note when each agent was last heard: pairs of key and instant, each key once."""
    tx.run(_TOUCH, pairs)


def set_draining(tx: Tx, key: int, draining: bool) -> AgentRow:
    """Give it nothing new, or work again. Raises AgentNotFound if it is deleted."""
    return _change(tx, key, draining=draining)


def set_placement(
    tx: Tx,
    key: int,
    *,
    expected_revision: int,
    tags: Sequence[str],
    labels: Mapping[str, str],
    allowed_groups: Sequence[str],
) -> AgentRow | None:
    """Say what it is for; None if it was changed meanwhile."""
    update = (
        sa.update(agents)
        .where(agents.c.key == key, agents.c.revision == expected_revision)
        .values(
            tags=_words(tags),
            labels=_pairs(labels),
            allowed_groups=_words(allowed_groups),
            revision=agents.c.revision + 1,
        )
        .returning(*agents.c)
    )
    row = tx.conn.execute(update).one_or_none()
    return None if row is None else _agent(row)


def set_definitions(
    tx: Tx, key: int, *, definitions: bytes, task_types: Sequence[str] | None
) -> AgentRow:
    """Say what it can be asked for; `task_types` None leaves what its hello said.

    Raises AgentNotFound if it is deleted.
    """
    words = {} if task_types is None else {"task_types": _words(task_types)}
    return _change(tx, key, definitions=definitions, **words)


def mark_deleted(tx: Tx, key: int, now: int) -> AgentRow:
    """Unpair the agent: its credential is void and its name free."""
    return _change(
        tx,
        key,
        deleted_at=now,
        credential_hash=None,
        disconnected_at=sa.func.coalesce(agents.c.disconnected_at, now),
    )


def _in_state(state: int) -> sa.ColumnElement[bool]:
    if state == AgentState.DRAINING:
        return agents.c.draining
    away = agents.c.disconnected_at.is_not(None)
    return sa.not_(agents.c.draining) & (away if state == AgentState.OFFLINE else sa.not_(away))


def _live() -> sa.Select[Any]:
    return sa.select(agents).where(agents.c.deleted_at.is_(None))


def _visible(tx: Tx, scope: Scope) -> sa.Select[Any]:
    return _live().where(usable_in(tx, agents.c.allowed_groups, scope))


def _change(tx: Tx, key: int, **values: Any) -> AgentRow:
    update = (
        sa.update(agents)
        .where(agents.c.key == key, agents.c.deleted_at.is_(None))
        .values(revision=agents.c.revision + 1, **values)
        .returning(*agents.c)
    )
    row = tx.conn.execute(update).one_or_none()
    if row is None:
        raise AgentNotFound("the agent was deleted; enrol it again")
    return _agent(row)


def _maybe(tx: Tx, query: sa.Select[Any]) -> AgentRow | None:
    row = tx.conn.execute(query).one_or_none()
    return None if row is None else _agent(row)


def _agent(row: sa.Row[Any]) -> AgentRow:
    values = row._asdict()
    values["tags"] = tuple(json.loads(values["tags"]))
    values["labels"] = json.loads(values["labels"])
    values["task_types"] = tuple(json.loads(values["task_types"]))
    values["allowed_groups"] = tuple(json.loads(values["allowed_groups"]))
    return AgentRow(**values)


def _words(words: Sequence[str]) -> str:
    return json.dumps(list(words))


def _pairs(pairs: Mapping[str, str]) -> str:
    return json.dumps(dict(pairs), sort_keys=True)
