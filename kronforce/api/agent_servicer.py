# mypy: disable-error-code="override"
# Servicers take our Call where the generated base names grpc's context.
"""AgentService: agents enrol, hold their streams or poll; people list, drain and remove them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

from kronforce.api import references
from kronforce.api.call import Call
from kronforce.api.closing import closing
from kronforce.api.convert.agent import agent_message
from kronforce.api.convert.claim import claim_message
from kronforce.api.convert.instants import stamp
from kronforce.api.paging import Shape, next_token, read_page
from kronforce.api.ports import Polls, PullCalls, Sessions
from kronforce.core import ids
from kronforce.engine.agents.changes import Agents
from kronforce.engine.agents.directory import pulls
from kronforce.engine.agents.task_types import TaskTypes
from kronforce.errors import InvalidArgument, PermissionDenied
from kronforce.store import agents as stored
from kronforce.store.agents import AgentRow
from kronforce.store.store import Store
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import agent_service_pb2_grpc
from kronforce.v1.agent_pb2 import Agent, AgentState

# Told to agents that poll; those with a stream hear it in `welcome`.
HEARTBEAT_SECS = 10

# How the caller reached the gateway: `http://host:port`.
REACHED_AT = "kronforce-reached-at"

_BY_NAME: Shape = (str,)


class AgentServicer(agent_service_pb2_grpc.AgentServiceServicer):
    """Thin: use cases change, the engine's sessions serve, `convert` renders."""

    def __init__(
        self,
        *,
        store: Store,
        agents: Agents,
        sessions: Sessions,
        polls: Polls,
        pull_calls: PullCalls,
        task_types: TaskTypes,
    ) -> None:
        self._store = store
        self._agents = agents
        self._sessions = sessions
        self._polls = polls
        self._pull_calls = pull_calls
        self._task_types = task_types

    async def Connect(
        self, requests: AsyncIterator[pb.ConnectRequest], call: Call
    ) -> AsyncGenerator[pb.ConnectResponse, None]:
        _require_credential(call)
        async with closing(self._sessions.connect(call.principal, requests)) as frames:
            async for frame in frames:
                yield frame

    async def StreamOutput(
        self, requests: AsyncIterator[pb.StreamOutputRequest], call: Call
    ) -> AsyncGenerator[pb.StreamOutputResponse, None]:
        _require_credential(call)
        async with closing(self._sessions.stream_output(call.principal, requests)) as frames:
            async for frame in frames:
                yield frame

    async def RegisterAgent(
        self, request: pb.RegisterAgentRequest, call: Call
    ) -> pb.RegisterAgentResponse:
        # Also one without a key comes from somewhere.
        caller = replace(call.principal, peer=call.peer, surface=call.surface)
        made = await self._agents.register(call.scope, caller, request)
        call.log["agent"] = made.agent.name
        if pulls(made.agent):
            self._pull_calls.registered(made.agent)
        return pb.RegisterAgentResponse(
            agent_id=ids.to_text(made.agent.id),
            credential="" if made.credential is None else made.credential.reveal(),
            heartbeat_interval_secs=HEARTBEAT_SECS,
        )

    async def CreateJoinToken(
        self, request: pb.CreateJoinTokenRequest, call: Call
    ) -> pb.CreateJoinTokenResponse:
        made = await self._agents.create_join_token(call.principal, request)
        return pb.CreateJoinTokenResponse(
            token=made.token.reveal(), expires_at=stamp(made.expires_at)
        )

    async def GetAgent(self, request: pb.GetAgentRequest, call: Call) -> Agent:
        return self._shown(await self._store.read(references.agent, call.scope, request.agent_id))

    async def ListAgents(self, request: pb.ListAgentsRequest, call: Call) -> pb.ListAgentsResponse:
        if request.state not in AgentState.values():
            raise InvalidArgument.of(("state", "use online, offline or draining"))
        page = await self._store.read(
            stored.list_agents,
            call.scope,
            page=read_page(request, _BY_NAME),
            state=request.state or None,
        )
        return pb.ListAgentsResponse(
            agents=[self._shown(row) for row in page.items],
            next_page_token=next_token(request, page),
            total=page.total,
            total_exact=page.total_exact,
        )

    async def DrainAgent(self, request: pb.DrainAgentRequest, call: Call) -> Agent:
        draining = request.draining if request.HasField("draining") else True
        return self._shown(
            await self._agents.drain(call.principal, request.agent_id, draining=draining)
        )

    async def DeleteAgent(
        self, request: pb.DeleteAgentRequest, call: Call
    ) -> pb.DeleteAgentResponse:
        await self._agents.delete(call.principal, request.agent_id)
        return pb.DeleteAgentResponse()

    async def UpdateAgent(self, request: pb.UpdateAgentRequest, call: Call) -> Agent:
        return self._shown(
            await self._agents.update(
                call.principal, request.agent_id, request.agent, request.update_mask.paths
            )
        )

    async def PullAssignment(
        self, request: pb.PullAssignmentRequest, call: Call
    ) -> pb.PullAssignmentResponse:
        claim = await self._polls.pull(call.principal, request.agent_id, request.wait)
        if claim is None:
            return pb.PullAssignmentResponse()
        attempt = self._pull_calls.attempt_of(claim.work.live)
        reached_at = call.metadata.get(REACHED_AT, "")
        return claim_message(claim, attempt, reached_at if isinstance(reached_at, str) else "")

    async def Heartbeat(self, request: pb.HeartbeatRequest, call: Call) -> pb.HeartbeatResponse:
        cancels = await self._pull_calls.heartbeat(call.principal, request)
        return pb.HeartbeatResponse(
            cancel_execution_ids=cancels, heartbeat_interval_secs=HEARTBEAT_SECS
        )

    async def AppendOutput(
        self, request: pb.AppendOutputRequest, call: Call
    ) -> pb.AppendOutputResponse:
        stored = await self._pull_calls.append(call.principal, request)
        return pb.AppendOutputResponse(stored_sequence=stored.stored_sequence, cancel=stored.cancel)

    async def FinishExecution(
        self, request: pb.FinishExecutionRequest, call: Call
    ) -> pb.FinishExecutionResponse:
        await self._pull_calls.finish(call.principal, request)
        return pb.FinishExecutionResponse()

    async def GetAgentTaskTypes(
        self, request: pb.GetAgentTaskTypesRequest, call: Call
    ) -> pb.GetAgentTaskTypesResponse:
        found = await self._task_types.of(call.scope, request.agent_id)
        return pb.GetAgentTaskTypesResponse(task_types=found)

    async def SetAgentTaskTypes(
        self, request: pb.SetAgentTaskTypesRequest, call: Call
    ) -> pb.SetAgentTaskTypesResponse:
        found = await self._task_types.set(call.principal, request)
        return pb.SetAgentTaskTypesResponse(task_types=found)

    def _shown(self, row: AgentRow) -> Agent:
        return agent_message(row, self._sessions.live(row.key)[1])


def _require_credential(call: Call) -> None:
    if call.principal.kind != "agent":
        raise PermissionDenied(
            "an agent's stream needs the agent's own credential (kfa_…), not a key: enrol it "
            "first, with a join token or with this key",
            permission="agents.serve",
            role=call.scope.role,
        )
