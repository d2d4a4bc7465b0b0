"""The use cases of agents: enrol, place, drain, remove, and the tokens to enrol with.

Who an agent is gets fixed here: its name, tags, labels and groups are what the
token, the enrolling call or an admin said, and no session changes them. Its credential is
shown once and kept as a hash. What memory holds of agents (the directory, their
sessions) is told after the commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from kronforce.clock import Clock
from kronforce.core import ids
from kronforce.core.access import Role, Scope
from kronforce.core.agent_rules import group_problems, registration_problems, word_problems
from kronforce.core.ids import IdSource
from kronforce.engine.agents import enrolment as agent_enrolment
from kronforce.engine.agents.directory import Directory
from kronforce.engine.agents.enrolment import Enrolment, TokenBearer
from kronforce.engine.audit_states import agent_resource, agent_state, instant
from kronforce.engine.auditing import Resource, record
from kronforce.errors import (
    Aborted,
    AgentNotFound,
    InvalidArgument,
    PermissionDenied,
    Unauthenticated,
)
from kronforce.security import keys
from kronforce.security.secret import Secret
from kronforce.store import agents, counters, join_tokens
from kronforce.store.agents import AgentRow
from kronforce.store.audit import Actor
from kronforce.store.database import Tx
from kronforce.store.join_tokens import JoinTokenRow
from kronforce.store.store import Store
from kronforce.v1.agent_pb2 import AGENT_TYPE_CUSTOM, AGENT_TYPE_STANDARD, Agent, AgentFacts
from kronforce.v1.agent_service_pb2 import CreateJoinTokenRequest, RegisterAgentRequest
from kronforce.v1.event_pb2 import SEVERITY_INFO, SEVERITY_WARNING

USES_MAX = 10_000
TTL_MIN_SECS, TTL_MAX_SECS, TTL_SECS = 60, 2_592_000, 3_600
_SECOND_US = 1_000_000

# Who calls without a key, where agents on this host need none.
OPEN = "open"

# What an admin may say of an agent after it was enrolled.
_PLACEMENT = frozenset({"tags", "labels", "allowed_groups"})


class Caller(Actor, Protocol):
    """Who calls; `api.call.Principal` is one."""

    @property
    def kind(self) -> str: ...
    @property
    def agent_key(self) -> int | None: ...


class Sessions(Protocol):
    """Who holds the agents' streams; told after the commit."""

    def on_drain(self, agent_key: int, draining: bool) -> None: ...

    def on_placement(self, row: AgentRow) -> None: ...

    def close_agent(self, agent_key: int) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """An enrolled agent; `credential` is None where the one it has stays."""

    agent: AgentRow
    credential: Secret | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewToken:
    """A join token, to be shown once."""

    token: Secret
    expires_at: int


class Agents:
    """Every change that a caller can make to agents and join tokens."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        new_id: IdSource,
        directory: Directory,
        sessions: Sessions,
        ca_der: bytes | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._directory = directory
        self._sessions = sessions
        # With TLS on: the certificate that agents pin, sent with each join token.
        self._ca_der = ca_der

    async def register(
        self, scope: Scope, caller: Caller, request: RegisterAgentRequest
    ) -> Registered:
        """Enrol an agent, by join token, by key, or again by its own credential."""
        if problems := registration_problems(request):
            raise InvalidArgument.of(*problems)
        credential = keys.new_agent_credential()
        enrolment = replace(self._enrolment(request, credential, caller.name), author=caller)
        if request.join_token:
            token = keys.parse_join_token(request.join_token)
            if token is None:
                raise agent_enrolment.bad_token()
            bearer = TokenBearer(id=ids.to_text(token.id), peer=caller.peer, surface=caller.surface)
            enrolment = replace(enrolment, actor=request.name, author=bearer)
            row = await self._store.write(agent_enrolment.enrol_with_token, enrolment, token)
        elif caller.kind == "agent" and caller.agent_key is not None:
            row = await self._store.write(agent_enrolment.update_facts, caller.agent_key, enrolment)
            self._directory.put(row)
            return Registered(agent=row, credential=None)
        else:
            _require_agent_role(scope, caller, request)
            row = await self._store.write(agent_enrolment.enrol_with_key, enrolment, caller.id)
        self._directory.put(row)
        return Registered(agent=row, credential=credential)

    async def enrol_built_in(
        self, name: str, *, tags: Sequence[str] = (), labels: Mapping[str, str] | None = None
    ) -> Registered:
        """Enrol the controller's own agent, or give it a new credential: at each start."""
        request = RegisterAgentRequest(name=name, tags=tags, labels=labels or {})
        if problems := registration_problems(request):
            raise InvalidArgument.of(*problems)
        credential = keys.new_agent_credential()
        enrolment = replace(self._enrolment(request, credential, "controller"), built_in=True)
        row = await self._store.write(agent_enrolment.enrol_built_in, enrolment)
        self._directory.put(row)
        return Registered(agent=row, credential=credential)

    async def create_join_token(self, caller: Caller, request: CreateJoinTokenRequest) -> NewToken:
        """Make a token that lets agents enrol."""
        uses, ttl = request.uses or 1, request.ttl_secs or TTL_SECS
        _check_token(uses, ttl, request)
        token_id = self._new_id()
        token = keys.new_join_token(token_id, self._ca_der)
        parsed = keys.parse_join_token(token.reveal())
        assert parsed is not None
        now = self._clock.now_us()
        row = await self._store.write(
            _make_token,
            caller,
            id=token_id,
            hash=parsed.hash,
            uses=uses,
            tags=list(request.tags),
            labels=dict(request.labels),
            allowed_groups=sorted(set(request.allowed_groups)),
            created_by=caller.name,
            created_at=now,
            expires_at=now + ttl * _SECOND_US,
        )
        return NewToken(token=token, expires_at=row.expires_at)

    async def drain(self, caller: Caller, ref: str, *, draining: bool) -> AgentRow:
        """Give an agent nothing new, or work again; what it runs, runs on."""
        row = await self._store.write(_set_draining, ref, draining, caller, self._clock.now_us())
        self._directory.put(row)
        self._sessions.on_drain(row.key, draining)
        return row

    async def update(
        self, caller: Caller, ref: str, agent: Agent, paths: Sequence[str]
    ) -> AgentRow:
        """Say anew what an agent is for: its tags, labels and groups, or those in the mask."""
        fields = _placement_fields(paths)
        _check_placement(agent, fields)
        row, changed = await self._store.write(
            _place, ref, agent, fields, caller, self._clock.now_us()
        )
        if changed:
            self._directory.put(row)
            self._sessions.on_placement(row)
        return row

    async def delete(self, caller: Caller, ref: str) -> None:
        """Remove an agent: its credential and its session end at once."""
        row = await self._store.write(_delete, ref, caller, self._clock.now_us())
        self._directory.remove(row.key)
        self._sessions.close_agent(row.key)

    def _enrolment(
        self, request: RegisterAgentRequest, credential: Secret, actor: str
    ) -> Enrolment:
        facts = AgentFacts()
        facts.CopyFrom(request.facts)
        facts.hostname = facts.hostname or request.hostname
        agent_type = request.agent_type or AGENT_TYPE_STANDARD
        return Enrolment(
            agent_id=self._new_id(),
            name=request.name,
            credential_hash=keys.hash_of(credential.reveal()),
            agent_type=agent_type,
            built_in=False,
            tags=sorted(set(request.tags)),
            labels=dict(request.labels),
            allowed_groups=(),
            facts=facts.SerializeToString(deterministic=True),
            slots=request.slots,
            actor=actor,
            now=self._clock.now_us(),
        )


def require_agent(tx: Tx, ref: str) -> AgentRow:
    """The agent of this id or name; raises AgentNotFound."""
    row = agents.find_agent(tx, ref)
    if row is None:
        raise AgentNotFound(f"no agent {ref!r}; see `kronforce agent list`", agent=ref)
    return row


def _make_token(tx: Tx, author: Actor, /, **values: Any) -> JoinTokenRow:
    row = join_tokens.insert_join_token(tx, **values)
    after = {
        "uses": row.uses_left,
        "tags": list(row.tags),
        "labels": dict(row.labels),
        "allowed_groups": list(row.allowed_groups),
        "expires_at": instant(row.expires_at),
    }
    made = Resource(type="join_token", id=ids.to_text(row.id))
    record(tx, author, row.created_at, "join_token.created", made, after=after)
    return row


def _set_draining(tx: Tx, ref: str, draining: bool, author: Actor, now: int) -> AgentRow:
    row = require_agent(tx, ref)
    if row.draining == draining:
        return row
    changed = agents.set_draining(tx, row.key, draining)
    operation = "agent.drained" if draining else "agent.resumed"
    before, after = agent_state(row), agent_state(changed)
    record(tx, author, now, operation, agent_resource(row), before=before, after=after)
    return changed


def _place(
    tx: Tx, ref: str, agent: Agent, fields: frozenset[str], author: Actor, now: int
) -> tuple[AgentRow, bool]:
    row = require_agent(tx, ref)
    if agent.etag and agent.etag != str(row.revision):
        raise changed_meanwhile(row)
    if "name" in fields and agent.name != row.name:
        raise InvalidArgument.of(("name", f"is fixed as {row.name!r}; enrol it anew with another"))
    tags = tuple(sorted(set(agent.tags))) if "tags" in fields else row.tags
    labels = dict(agent.labels) if "labels" in fields else row.labels
    groups = row.allowed_groups
    if "allowed_groups" in fields:
        groups = tuple(sorted(set(agent.allowed_groups)))
    if (tags, labels, groups) == (row.tags, row.labels, row.allowed_groups):
        return row, False
    placed = agents.set_placement(
        tx,
        row.key,
        expected_revision=row.revision,
        tags=tags,
        labels=labels,
        allowed_groups=groups,
    )
    if placed is None:
        raise changed_meanwhile(row)
    line = "was placed anew"
    agent_enrolment.tell(tx, placed, "agent.updated", SEVERITY_INFO, author.name, now, line)
    before, after = agent_state(row), agent_state(placed)
    record(tx, author, now, "agent.updated", agent_resource(row), before=before, after=after)
    return placed, True


def changed_meanwhile(row: AgentRow) -> Aborted:
    return Aborted(
        f"agent {row.name!r} was changed meanwhile; read it again, then retry with its new etag",
        etag=str(row.revision),
    )


def _placement_fields(paths: Sequence[str]) -> frozenset[str]:
    """What of the mask counts, or everything that can be changed. Raises InvalidArgument.

    What an agent tells of itself is ignored, so that one that was read can be sent back whole.
    """
    if not paths or "*" in paths:
        return _PLACEMENT
    if wrong := sorted({*paths}.difference(Agent.DESCRIPTOR.fields_by_name.keys())):
        can = ", ".join(sorted(_PLACEMENT))
        raise InvalidArgument.of(
            *(
                ("update_mask", f"an agent has no field {each!r}; {can} can change")
                for each in wrong
            )
        )
    return (_PLACEMENT | {"name"}).intersection(paths)


def _check_placement(agent: Agent, fields: frozenset[str]) -> None:
    problems = word_problems(
        agent.tags if "tags" in fields else (), agent.labels if "labels" in fields else {}
    )
    if "allowed_groups" in fields:
        problems += group_problems(agent.allowed_groups)
    if problems:
        raise InvalidArgument.of(*problems)


def _delete(tx: Tx, ref: str, author: Actor, now: int) -> AgentRow:
    before = require_agent(tx, ref)
    row = agents.mark_deleted(tx, before.key, now)
    # Whoever remembers its credential as good reads it again.
    counters.raise_by(tx, counters.KEY_REVISION)
    line = "was removed"
    agent_enrolment.tell(tx, row, "agent.unpaired", SEVERITY_WARNING, author.name, now, line)
    # The name that the documented log has for it.
    gone = agent_resource(before)
    record(tx, author, now, "agent.deregistered", gone, before=agent_state(before))
    return row


def _require_agent_role(scope: Scope, caller: Caller, request: RegisterAgentRequest) -> None:
    if caller.id == OPEN and request.agent_type != AGENT_TYPE_CUSTOM:
        raise Unauthenticated(
            'without a key only agents of type custom enrol: say "agent_type": "custom", or bring '
            "a join token, `kronforce agent token`"
        )
    if caller.kind == "public":
        raise Unauthenticated(
            "an agent enrols with a join token, with a key of the role agent, or with its own "
            "credential; none came with the call: `kronforce agent token`"
        )
    if scope.role is not Role.AGENT:
        raise PermissionDenied(
            f"a key with the role agent may do this; this one is {scope.role}: make a join token "
            "instead, `kronforce agent token`",
            permission="agents.serve",
            role=scope.role,
        )


def _check_token(uses: int, ttl: int, request: CreateJoinTokenRequest) -> None:
    problems = word_problems(request.tags, request.labels)
    problems += group_problems(request.allowed_groups)
    if not 1 <= uses <= USES_MAX:
        problems.append(("uses", f"is {uses}; from 1 to {USES_MAX:,}"))
    if not TTL_MIN_SECS <= ttl <= TTL_MAX_SECS:
        problems.append(("ttl_secs", f"is {ttl}; from {TTL_MIN_SECS} to {TTL_MAX_SECS:,}"))
    if problems:
        raise InvalidArgument.of(*problems)
