"""How an agent comes to be known: what enrolling writes, as functions over one transaction.

Three ways in: a join token makes a new agent, a key with the role `agent` makes
one or gives a restarted one a new credential, and a credential updates what its
own agent says of its host. A known name is refused to everybody else.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kronforce.core import ids
from kronforce.engine.audit_states import agent_resource, agent_state
from kronforce.engine.auditing import record
from kronforce.errors import AlreadyExists, BadJoinToken, InvalidArgument
from kronforce.security.keys import JoinToken
from kronforce.store import agents, counters, events, join_tokens
from kronforce.store.agents import AgentRow
from kronforce.store.audit import Actor
from kronforce.store.database import Tx
from kronforce.store.join_tokens import JoinTokenRow
from kronforce.v1.event_pb2 import SEVERITY_INFO


@dataclass(frozen=True, kw_only=True, slots=True)
class Enrolment:
    """What an agent is enrolled as. `facts` is a serialised `AgentFacts`."""

    agent_id: bytes
    name: str
    credential_hash: bytes
    agent_type: int
    built_in: bool
    tags: Sequence[str]
    labels: Mapping[str, str]
    allowed_groups: Sequence[str]
    facts: bytes
    slots: int
    # Who enrols it, for people.
    actor: str
    now: int
    # Whom the audit log names; None: the controller enrols its own.
    author: Actor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenBearer:
    """Who enrols with a join token, as the audit log names it: by the token's id."""

    id: str
    peer: str
    surface: str
    name: str = "join token"


def enrol_with_token(tx: Tx, enrolment: Enrolment, token: JoinToken) -> AgentRow:
    """A new agent, with the token's tags and labels on top of its own."""
    registered_by = f"token:{ids.to_text(token.id)}"
    row = join_tokens.find_join_token(tx, token.id)
    if row is None or not hmac.compare_digest(row.hash, token.hash):
        raise bad_token()
    wanted = _with_words_of(row, enrolment)
    known = agents.find_agent(tx, enrolment.name)
    if known is not None and known.registered_by == registered_by and not known.session_epoch:
        # Its reply was lost: it never connected, so nobody has the credential that was made.
        if row.expires_at <= enrolment.now:
            raise bad_token()
        return _again(tx, wanted, known, registered_by)
    if known is not None:
        raise _name_taken(enrolment.name)
    if join_tokens.use_token(tx, token.id, enrolment.now) is None:
        raise bad_token()
    return _anew(tx, wanted, registered_by)


def enrol_with_key(tx: Tx, enrolment: Enrolment, key_id: str) -> AgentRow:
    """A new agent, or a new credential for one that this key has enrolled before."""
    registered_by = f"key:{key_id}"
    known = agents.find_agent(tx, enrolment.name)
    if known is None:
        return _anew(tx, enrolment, registered_by)
    if known.registered_by != registered_by:
        raise _name_taken(enrolment.name)
    return _again(tx, enrolment, known, registered_by)


def enrol_built_in(tx: Tx, enrolment: Enrolment) -> AgentRow:
    """The controller's own agent: made once, given a new credential at each start."""
    known = agents.find_agent(tx, enrolment.name)
    if known is None:
        return _anew(tx, enrolment, "controller")
    if not known.built_in:
        raise _name_taken(enrolment.name)
    # What an admin said of it outlives a restart, unless the start says otherwise.
    kept = replace(enrolment, tags=enrolment.tags or known.tags, labels=known.labels)
    return _again(tx, kept, known, "controller")


def update_facts(tx: Tx, agent_key: int, enrolment: Enrolment) -> AgentRow:
    """What the agent says of its host is new; who it is stays, and so does its credential."""
    known = agents.get_agent(tx, agent_key)
    if known.name != enrolment.name:
        raise InvalidArgument.of(
            ("name", f"this credential is agent {known.name!r}; enrol others with a join token")
        )
    row = agents.update_registration(
        tx,
        key=known.key,
        credential_hash=known.credential_hash,
        registered_by=known.registered_by,
        agent_type=known.agent_type,
        tags=known.tags,
        labels=known.labels,
        task_types=known.task_types,
        facts=enrolment.facts,
        slots=enrolment.slots or known.slots,
    )
    if (row.facts, row.slots) != (known.facts, known.slots):
        _record(tx, enrolment, "agent.updated", known, row)
    return row


def bad_token() -> BadJoinToken:
    """The one answer for every token that is not good."""
    return BadJoinToken(
        "the join token is unknown, used up or expired; make another: `kronforce agent token`"
    )


def _with_words_of(token: JoinTokenRow, enrolment: Enrolment) -> Enrolment:
    return replace(
        enrolment,
        tags=sorted({*enrolment.tags, *token.tags}),
        # The token's win: an agent cannot call itself what its token does not.
        labels={**enrolment.labels, **token.labels},
        allowed_groups=token.allowed_groups,
    )


def _anew(tx: Tx, enrolment: Enrolment, registered_by: str) -> AgentRow:
    row = agents.insert_agent(
        tx,
        id=enrolment.agent_id,
        name=enrolment.name,
        credential_hash=enrolment.credential_hash,
        registered_by=registered_by,
        agent_type=enrolment.agent_type,
        built_in=enrolment.built_in,
        tags=enrolment.tags,
        labels=enrolment.labels,
        task_types=(),
        facts=enrolment.facts,
        slots=enrolment.slots,
        now=enrolment.now,
        allowed_groups=enrolment.allowed_groups,
    )
    tell(tx, row, "agent.registered", SEVERITY_INFO, enrolment.actor, enrolment.now, "was enrolled")
    _record(tx, enrolment, "agent.registered", None, row)
    return row


def _again(tx: Tx, enrolment: Enrolment, known: AgentRow, registered_by: str) -> AgentRow:
    row = agents.update_registration(
        tx,
        key=known.key,
        credential_hash=enrolment.credential_hash,
        registered_by=registered_by,
        agent_type=enrolment.agent_type,
        tags=enrolment.tags,
        labels=enrolment.labels,
        task_types=known.task_types,
        facts=enrolment.facts,
        slots=enrolment.slots or known.slots,
    )
    # Its old credential is void: whoever remembers that as good reads it again.
    counters.raise_by(tx, counters.KEY_REVISION)
    line = "was enrolled again"
    tell(tx, row, "agent.registered", SEVERITY_INFO, enrolment.actor, enrolment.now, line)
    _record(tx, enrolment, "agent.registered", known, row)
    return row


def _record(
    tx: Tx, enrolment: Enrolment, operation: str, before: AgentRow | None, after: AgentRow
) -> None:
    if enrolment.author is not None:
        record(
            tx,
            enrolment.author,
            enrolment.now,
            operation,
            agent_resource(after),
            before=None if before is None else agent_state(before),
            after=agent_state(after),
        )


def tell(tx: Tx, row: AgentRow, kind: str, severity: int, actor: str, now: int, what: str) -> None:
    """Write an event about an agent."""
    event = events.NewEvent(
        kind=kind,
        severity=severity,
        at=now,
        message=f"agent {row.name} {what}",
        actor=actor,
        agent_id=row.id,
    )
    events.insert_events(tx, [event])


def _name_taken(name: str) -> AlreadyExists:
    return AlreadyExists(
        f"an agent named {name!r} is enrolled already; choose another name, or remove that one "
        f"first: `kronforce agent delete {name}`",
        name=name,
    )
