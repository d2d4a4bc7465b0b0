"""A custom agent as the engine sees it: calls, no HTTP."""

import asyncio

from kronforce.core.ids import to_text
from kronforce.engine.agents.directory import pulls
from kronforce.store import agents
from kronforce.v1 import job_pb2
from kronforce.v1.agent_pb2 import AGENT_TYPE_CUSTOM
from kronforce.v1.agent_service_pb2 import (
    AppendOutputRequest,
    FinishExecutionRequest,
    HeartbeatRequest,
    SetAgentTaskTypesResponse,
)
from kronforce.v1.execution_pb2 import OutputChunk
from tests.store.rig import Someone

SUCCEEDED, FAILED, TIMED_OUT, CANCELLED, EXPIRED, LOST = 4, 5, 6, 7, 9, 11


class PullAgent:
    """Polls and reports. `rig` may be another one after a restart."""

    def __init__(self, rig, row) -> None:
        self.rig = rig
        self.row = row
        self.caller = Someone(agent_key=row.key)

    @classmethod
    async def enrolled(cls, rig, name="puller", *, types=(), slots=0, tags=(), by="test"):
        row = await rig.store.write(
            agents.insert_agent,
            id=rig.new_id(), name=name, credential_hash=name.encode(), registered_by=by,
            agent_type=AGENT_TYPE_CUSTOM, built_in=False, tags=tags, labels={}, task_types=(),
            facts=b"", slots=slots, now=rig.clock.now_us(),
        )  # fmt: skip
        if types:
            made = SetAgentTaskTypesResponse()
            for each in types:
                made.task_types.add(name=each)
            row = await rig.store.write(
                agents.set_definitions, row.key, definitions=made.SerializeToString(),
                task_types=[f"custom:{each}" for each in types],
            )  # fmt: skip
        assert pulls(row)
        rig.engine.directory.put(row)
        return cls(rig, row)

    @property
    def id(self):
        return to_text(self.row.id)

    async def pull(self, wait=0):
        return await self.rig.engine.polls.pull(self.caller, self.row.name, wait)

    def pulling(self, wait=60):
        """A poll that waits, in a task of its own."""
        return asyncio.create_task(self.pull(wait))

    async def asking(self):
        """Wait until a poll of this agent is there."""

        async def look():
            session = self.rig.engine.dispatcher.sessions.get(self.row.key)
            return session is not None and session.asks

        await self.rig.until(look)

    def attempt(self, claim):
        return self.rig.engine.pull_calls.attempt_of(claim.work.live)

    def report(self, claim, status=SUCCEEDED, **fields):
        attempt = fields.pop("attempt", None) or self.attempt(claim)
        return FinishExecutionRequest(
            execution_id=claim.work.live.id_text, status=status, attempt=attempt, **fields
        )

    async def finish(self, claim, status=SUCCEEDED, **fields):
        await self.send(self.report(claim, status, **fields))

    async def send(self, report):
        await self.rig.engine.pull_calls.finish(self.caller, report)

    async def heartbeat(self, *held, say=False):
        request = HeartbeatRequest(agent_id=self.row.name)
        if held or say:
            request.held.execution_ids.extend(held)
        return await self.rig.engine.pull_calls.heartbeat(self.caller, request)

    async def append(self, claim, text, offset=0):
        chunk = OutputChunk(stream=1, offset=offset, data=text.encode())
        request = AppendOutputRequest(
            execution_id=claim.work.live.id_text, attempt=self.attempt(claim), chunks=[chunk]
        )
        return await self.rig.engine.pull_calls.append(self.caller, request)


def python_task(**data):
    task = job_pb2.CustomTask(agent_task_type="python")
    task.data.update(data)
    return job_pb2.Task(custom=task)


def on(agent):
    return job_pb2.Target(agent=job_pb2.AgentTarget(agent_id=agent.row.name))


async def job_for(agent, name="job", **fields):
    """A job of one custom task for this agent."""
    data = fields.pop("data", {"script": "print(1)"})
    return await agent.rig.job(name, task=python_task(**data), target=on(agent), **fields)
