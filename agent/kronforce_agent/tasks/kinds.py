"""The two kinds of task: what a file beside this one must offer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import execution_pb2 as ex
from kronforce.v1 import job_pb2
from kronforce_agent.clock import Clock
from kronforce_agent.launcher import protocol
from kronforce_agent.outcome import Outcome


class CannotStart(Exception):
    """The task cannot be started here; the message is for people and says the way out."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """What of this agent a task may see."""

    agent_name: str
    work_folder: Path


class Output(Protocol):
    """Where an in-agent task writes; waits while nobody takes more."""

    async def write(self, stream: ex.OutputStream.ValueType, data: bytes) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an in-agent task has to work with."""

    output: Output
    clock: Clock
    execution_id: str
    fence: int
    timeout_secs: float
    """What remains of the attempt's time, which whoever runs it watches; 0: no limit."""


@dataclass(frozen=True, kw_only=True)
class ProcessTask:
    """Held by the launcher. `build` raises CannotStart."""

    build: Callable[[str, int, pb.Assignment, Host], protocol.Spawn]


@dataclass(frozen=True, kw_only=True)
class InAgentTask:
    """Runs in the agent; `run` says how it ended and may be cancelled at any await.

    `instant` gives exit code and standard output at once where a task has no effect beside them
    and takes no time; None where it must be run.
    """

    run: Callable[[job_pb2.Task, Context], Awaitable[Outcome]]
    instant: Callable[[job_pb2.Task], tuple[int, bytes] | None] = lambda _task: None
