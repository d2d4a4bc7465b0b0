"""What custom agents can be asked for: task types as an admin defines them.

A job is held against them when it is saved, and agents against a job's type when it is dispatched;
both at once, without a restart of the agent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kronforce.clock import Clock
from kronforce.core.access import Scope
from kronforce.core.custom_tasks import PREFIX, definition_problems
from kronforce.engine.agents import enrolment as agent_enrolment
from kronforce.engine.agents.changes import Caller, changed_meanwhile, require_agent
from kronforce.engine.agents.directory import Directory, pulls
from kronforce.engine.audit_states import agent_resource
from kronforce.engine.auditing import record
from kronforce.errors import AgentNotFound, InvalidArgument
from kronforce.store import agents
from kronforce.store.agents import AgentRow
from kronforce.store.database import Tx
from kronforce.store.store import Store
from kronforce.v1.agent_pb2 import TaskTypeDefinition
from kronforce.v1.agent_service_pb2 import SetAgentTaskTypesRequest, SetAgentTaskTypesResponse
from kronforce.v1.event_pb2 import SEVERITY_INFO


class Sessions(Protocol):
    """Who gives agents their work; told after the commit."""

    def on_task_types(self, row: AgentRow) -> None: ...


class TaskTypes:
    """Reads and sets them."""

    def __init__(
        self, *, store: Store, clock: Clock, directory: Directory, sessions: Sessions
    ) -> None:
        self._store = store
        self._clock = clock
        self._directory = directory
        self._sessions = sessions

    async def of(self, scope: Scope, ref: str) -> Sequence[TaskTypeDefinition]:
        """Those of one agent. Raises AgentNotFound."""
        row = await self._store.read(agents.visible_agent, scope, ref)
        if row is None:
            raise AgentNotFound(f"no agent {ref!r}; see `kronforce agent list`", agent=ref)
        return definitions_of(row)

    async def set(
        self, caller: Caller, request: SetAgentTaskTypesRequest
    ) -> Sequence[TaskTypeDefinition]:
        """Say anew what an agent can be asked for. Raises AgentNotFound, InvalidArgument."""
        if problems := definition_problems(request.task_types):
            raise InvalidArgument.of(*problems)
        row = await self._store.write(_set, request, caller, self._clock.now_us())
        self._directory.put(row)
        self._sessions.on_task_types(row)
        return definitions_of(row)


def definitions_of(row: AgentRow) -> Sequence[TaskTypeDefinition]:
    """What is defined on an agent."""
    return SetAgentTaskTypesResponse.FromString(row.definitions or b"").task_types


def _set(tx: Tx, request: SetAgentTaskTypesRequest, author: Caller, now: int) -> AgentRow:
    row = require_agent(tx, request.agent_id)
    if not pulls(row):
        raise InvalidArgument.of(
            ("agent_id", f"agent {row.name!r} is not of type custom: it says itself what it runs")
        )
    if request.etag and request.etag != str(row.revision):
        raise changed_meanwhile(row)
    after = SetAgentTaskTypesResponse(task_types=request.task_types)
    definitions = after.SerializeToString(deterministic=True)
    if definitions == (row.definitions or b""):
        return row
    names = [f"{PREFIX}{each.name}" for each in request.task_types]
    changed = agents.set_definitions(tx, row.key, definitions=definitions, task_types=names)
    line = "has other task types"
    agent_enrolment.tell(tx, changed, "agent.updated", SEVERITY_INFO, author.name, now, line)
    before = SetAgentTaskTypesResponse.FromString(row.definitions or b"")
    record(tx, author, now, "agent.task_types_set", agent_resource(row), before=before, after=after)
    return changed
