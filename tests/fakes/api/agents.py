"""The agents of the controller in memory (`api_server.py`): what operators ask of them."""

# ruff: noqa: N802 - methods are named as the contract names them

from __future__ import annotations

import grpc

from kronforce.v1 import agent_pb2, agent_service_pb2, agent_service_pb2_grpc
from tests.fakes.api.refused import Refused
from tests.fakes.api.state import State, now, page


class FakeAgents(agent_service_pb2_grpc.AgentServiceServicer):
    """AgentService, as far as operators use it; no agent connects here."""

    def __init__(self, shared: State) -> None:
        self._shared = shared

    async def GetAgent(self, request, context):
        return self._agent(request.agent_id)

    async def ListAgents(self, request, context):
        found = sorted(self._shared.agents.values(), key=lambda agent: agent.name)
        rows, token = page(found, request)
        return agent_service_pb2.ListAgentsResponse(
            agents=rows, next_page_token=token, total=len(found), total_exact=True
        )

    async def GetAgentTaskTypes(self, request, context):
        name = self._agent(request.agent_id).name
        return agent_service_pb2.GetAgentTaskTypesResponse(
            task_types=self._shared.task_types.get(name, ())
        )

    async def SetAgentTaskTypes(self, request, context):
        name = self._agent(request.agent_id).name
        self._shared.task_types[name] = list(request.task_types)
        return agent_service_pb2.SetAgentTaskTypesResponse(task_types=self._shared.task_types[name])

    async def DrainAgent(self, request, context):
        agent = self._agent(request.agent_id)
        draining = request.draining if request.HasField("draining") else True
        states = agent_pb2.AgentState
        agent.state = states.AGENT_STATE_DRAINING if draining else states.AGENT_STATE_ONLINE
        return agent

    async def DeleteAgent(self, request, context):
        del self._shared.agents[self._agent(request.agent_id).id]
        return agent_service_pb2.DeleteAgentResponse()

    async def UpdateAgent(self, request, context):
        agent = self._agent(request.agent_id)
        for name in request.update_mask.paths:
            if name != "etag":
                agent.ClearField(name)
        agent.MergeFrom(
            agent_pb2.Agent(
                tags=request.agent.tags,
                labels=request.agent.labels,
                allowed_groups=request.agent.allowed_groups,
            )
        )
        return agent

    async def CreateJoinToken(self, request, context):
        return agent_service_pb2.CreateJoinTokenResponse(
            token="kfj_1.secret", expires_at=now(request.ttl_secs)
        )

    def _agent(self, reference: str) -> agent_pb2.Agent:
        for agent in self._shared.agents.values():
            if reference in (agent.id, agent.name):
                return agent
        raise Refused(
            grpc.StatusCode.NOT_FOUND, "AGENT_NOT_FOUND", f'there is no agent "{reference}"'
        )
