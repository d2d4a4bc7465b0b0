"""What the services of the controller in memory share: what there is, and who waits for changes.

It keeps and finds; what a call does with it stands in the file of its service.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from datetime import UTC, datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.v1 import (
    agent_pb2,
    api_key_pb2,
    event_pb2,
    execution_pb2,
    execution_service_pb2,
    job_pb2,
    run_pb2,
    system_service_pb2,
    variable_pb2,
)
from tests.fakes.api.refused import Refused
from tests.fakes.api.story import Story


class State:
    """Jobs, runs, agents, keys and events, in dictionaries that a test may look into."""

    # Set by `FakeController.start`.
    _loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self.jobs: dict[str, job_pb2.Job] = {}
        self.runs: dict[str, run_pb2.Run] = {}
        self.chunks: dict[str, list[execution_pb2.OutputChunk]] = {}
        self.stories: dict[str, Story] = {}
        self.agents: dict[str, agent_pb2.Agent] = {}
        self.task_types: dict[str, list[agent_pb2.TaskTypeDefinition]] = {}
        self.variables: dict[str, variable_pb2.Variable] = {}
        # Those that were made by themselves; others are there while a job is in them.
        self.groups: set[str] = set()
        self.keys: dict[str, api_key_pb2.ApiKey] = {}
        self.events: list[event_pb2.Event] = []
        self.requests: dict[str, str] = {}
        self.previews: list[job_pb2.PreviewedFire] = []
        self.fires: list[job_pb2.Fire] = []
        self.asked: list[object] = []
        self.oldest_waiting = system_service_pb2.OldestWaiting()
        self.role = api_key_pb2.Role.ROLE_ADMIN
        self.seen_watches: list[execution_service_pb2.WatchRunsRequest] = []
        self.ids = itertools.count(1)
        self._change = asyncio.Condition()
        self.cuts = 0
        self.version = 0
        self.plays: list[asyncio.Task] = []

    def changed(self) -> None:
        """Wake whoever waits; may be called from any thread."""
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self.notify()))

    async def notify(self) -> None:
        async with self._change:
            self.version += 1
            self._change.notify_all()

    async def changed_since(self, version: int) -> None:
        """Wait until something has changed since that version."""
        async with self._change:
            await self._change.wait_for(lambda: self.version != version)

    async def until(self, condition) -> None:
        """Wait until something that a test watches for is so."""
        async with asyncio.timeout(10), self._change:
            await self._change.wait_for(condition)

    def cut_streams(self) -> None:
        """End every open stream, as a server that dies would."""
        self.cuts += 1
        self.changed()

    # What tests put in.

    def add_job(self, name: str, story: Story | None = None, **fields: object) -> job_pb2.Job:
        job = job_pb2.Job(
            name=name, task=job_pb2.Task(shell=job_pb2.ShellTask(command="true")), **fields
        )
        self.keep(job, new=True)
        self.stories[name] = story or Story()
        return job

    def add_agent(self, name: str, **fields: object) -> agent_pb2.Agent:
        agent = agent_pb2.Agent(
            id=new_id(),
            name=name,
            slots=4,
            state=agent_pb2.AgentState.AGENT_STATE_ONLINE,
            last_seen_at=now(),
            task_types=["shell", "noop"],
            **fields,
        )
        self.agents[agent.id] = agent
        return agent

    def add_event(self, kind: str, message: str) -> event_pb2.Event:
        event = event_pb2.Event(
            cursor=str(len(self.events) + 1), kind=kind, at=now(), message=message, severity=1
        )
        self.events.append(event)
        self.changed()
        return event

    def keep(self, job: job_pb2.Job, *, new: bool) -> None:
        if new:
            job.id = new_id()
            job.created_at.CopyFrom(now())
            job.group = job.group or "Default"
            job.status = job.status or job_pb2.JobStatus.JOB_STATUS_UNSCHEDULED
        job.version += 1
        job.etag = f"e{next(self.ids)}"
        job.updated_at.CopyFrom(now())
        self.jobs[job.id] = job

    def find_job(self, reference: str) -> job_pb2.Job:
        for job in self.jobs.values():
            if reference in (job.id, job.name):
                return job
        raise Refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND", f'there is no job "{reference}"')

    def find_run(self, run_id: str) -> run_pb2.Run:
        if run_id not in self.runs:
            raise Refused(grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND", f'there is no run "{run_id}"')
        return self.runs[run_id]


def page(rows: list, request) -> tuple[list, str]:
    size = request.page_size or 100
    start = int(request.page_token or 0)
    token = str(start + size) if start + size < len(rows) else ""
    return rows[start : start + size], token


def new_id() -> str:
    return str(uuid.uuid4())


def now(plus_secs: float = 0) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(int((datetime.now(UTC).timestamp() + plus_secs) * 1e6))
    return stamp
