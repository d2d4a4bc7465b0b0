"""Agents: who runs the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1.agent_pb2 import Agent, AgentState, TaskTypeDefinition
from kronforce.v1.agent_service_pb2_grpc import AgentServiceStub
from kronforce_client.calls import Caller
from kronforce_client.paging import pages
from kronforce_client.streams import Stream

if TYPE_CHECKING:
    from kronforce.v1.agent_service_pb2_grpc import AgentServiceAsyncStub


class Agents:
    """`kf.agents`. Every `agent` takes an id or an exact name."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub: AgentServiceAsyncStub = AgentServiceStub(caller.channel)

    async def get(self, agent: str, *, timeout_secs: float | None = None) -> Agent:
        """An agent by id or exact name."""
        request = pb.GetAgentRequest(agent_id=agent)
        return await self._caller.unary(self._stub.GetAgent, request, timeout_secs=timeout_secs)

    async def page(
        self,
        *,
        state: AgentState.ValueType | None = None,
        page_size: int = 100,
        page_token: str = "",
        timeout_secs: float | None = None,
    ) -> pb.ListAgentsResponse:
        """One page of agents, by name."""
        request = pb.ListAgentsRequest(
            page_size=page_size,
            page_token=page_token,
            state=state or AgentState.AGENT_STATE_UNSPECIFIED,
        )
        return await self._caller.unary(self._stub.ListAgents, request, timeout_secs=timeout_secs)

    def list(self, *, state: AgentState.ValueType | None = None) -> Stream[Agent]:
        """Every agent, by name, fetched page by page as they are read."""

        async def fetch(token: str) -> tuple[Sequence[Agent], str]:
            page = await self.page(state=state, page_token=token)
            return page.agents, page.next_page_token

        return Stream(pages(fetch))

    async def drain(
        self, agent: str, *, draining: bool = True, timeout_secs: float | None = None
    ) -> Agent:
        """Stop giving an agent new work, or start again. What it runs, runs on.

        The contract (AgentService.DrainAgent): Stops giving an agent new work, or starts again.
        What it runs, runs on.
        """
        request = pb.DrainAgentRequest(agent_id=agent, draining=draining)
        return await self._caller.unary(self._stub.DrainAgent, request, timeout_secs=timeout_secs)

    async def set(
        self,
        agent: str,
        *,
        tags: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        allowed_groups: Sequence[str] | None = None,
        etag: str = "",
        timeout_secs: float | None = None,
    ) -> Agent:
        """Say anew what an agent is for; what is None stays, what is empty is taken away.

        `allowed_groups`: the groups whose jobs it may run; empty: all.

        The contract (AgentService.UpdateAgent): Changes what an admin may say of an agent: `tags`,
        `labels`, `allowed_groups`. Holds at once: what waits may go to it now or no longer, what it
        has it keeps. Runs that exist keep their targets.
        """
        given = {"tags": tags, "labels": labels, "allowed_groups": allowed_groups}
        request = pb.UpdateAgentRequest(
            agent_id=agent,
            agent=Agent(
                tags=tags or (),
                labels=labels or {},
                allowed_groups=allowed_groups or (),
                etag=etag,
            ),
            # Never empty, which would mean all of them.
            update_mask=FieldMask(
                paths=["etag", *(name for name, value in given.items() if value is not None)]
            ),
        )
        return await self._caller.unary(self._stub.UpdateAgent, request, timeout_secs=timeout_secs)

    async def task_types(
        self, agent: str, *, timeout_secs: float | None = None
    ) -> Sequence[TaskTypeDefinition]:
        """What a custom agent can be asked for."""
        request = pb.GetAgentTaskTypesRequest(agent_id=agent)
        reply = await self._caller.unary(
            self._stub.GetAgentTaskTypes, request, timeout_secs=timeout_secs
        )
        return reply.task_types

    async def set_task_types(
        self,
        agent: str,
        task_types: Sequence[TaskTypeDefinition],
        *,
        etag: str = "",
        timeout_secs: float | None = None,
    ) -> Sequence[TaskTypeDefinition]:
        """Say anew what a custom agent can be asked for: all of it.

        The contract (AgentService.SetAgentTaskTypes): Says anew what a custom agent can be asked
        for; holds at once, without a restart of the agent. Jobs are held against it when they are
        saved; those that exist stay as they are, and wait where their type is gone. Other agents
        than custom ones are refused with INVALID_FIELD.
        """
        request = pb.SetAgentTaskTypesRequest(agent_id=agent, task_types=task_types, etag=etag)
        reply = await self._caller.unary(
            self._stub.SetAgentTaskTypes, request, timeout_secs=timeout_secs
        )
        return reply.task_types

    async def delete(
        self, agent: str, *, timeout_secs: float | None = None
    ) -> pb.DeleteAgentResponse:
        """Remove an agent: its credential and session end at once.

        The contract (AgentService.DeleteAgent): Removes an agent: its credential and session end at
        once, and what it held ends `lost` after `lost_after_secs`. Its name is free again; it is
        another agent then.
        """
        request = pb.DeleteAgentRequest(agent_id=agent)
        return await self._caller.unary(
            self._stub.DeleteAgent, request, timeout_secs=timeout_secs, idempotent=False
        )

    async def create_join_token(
        self,
        *,
        uses: int = 1,
        ttl_secs: int = 3600,
        tags: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        allowed_groups: Sequence[str] = (),
        timeout_secs: float | None = None,
    ) -> pb.CreateJoinTokenResponse:
        """A token with which agents enrol; it is in this reply and nowhere else."""
        request = pb.CreateJoinTokenRequest(
            uses=uses,
            ttl_secs=ttl_secs,
            tags=tags,
            labels=labels or {},
            allowed_groups=allowed_groups,
        )
        return await self._caller.unary(
            self._stub.CreateJoinToken, request, timeout_secs=timeout_secs, idempotent=False
        )
