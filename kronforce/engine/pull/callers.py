"""Which agent a caller speaks for.

Its own credential, or the key that enrolled it, which agents over HTTP simply keep using. Where the
operator opened this host to agents without a key, those that enrolled without one.
"""

from __future__ import annotations

from typing import Protocol

from kronforce.core.ids import to_text
from kronforce.engine.agents.directory import Directory
from kronforce.errors import AgentNotFound
from kronforce.store.agents import AgentRow


class Caller(Protocol):
    """Who calls; `api.call.Principal` is one."""

    @property
    def id(self) -> str: ...
    @property
    def agent_key(self) -> int | None: ...


def agent_of_caller(directory: Directory, caller: Caller, ref: str) -> AgentRow:
    """The agent of this id or name, if the caller may speak for it. Raises AgentNotFound."""
    row = directory.find(ref) if ref else None
    if row is None or not speaks_for(caller, row):
        raise AgentNotFound(
            f"no agent {ref!r} that this key enrolled; register it: POST /api/agents/register",
            agent=ref,
        )
    return row


def speaks_for(caller: Caller, row: AgentRow) -> bool:
    """Whether the caller is this agent."""
    if caller.agent_key is not None:
        return caller.agent_key == row.key
    return row.registered_by == f"key:{caller.id}"


def own_agent(directory: Directory, caller: Caller, agent_id: bytes | None) -> AgentRow | None:
    """The same by what memory has of an execution; None where it is not the caller's."""
    row = None if agent_id is None else directory.find(to_text(agent_id))
    return row if row is not None and speaks_for(caller, row) else None
