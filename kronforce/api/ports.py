"""What the servicers need of the engine's loops, as they call it.

The loops live in `engine/`; a servicer knows these few methods of them and
nothing else, so that each servicer can be read, and tested, beside the use
cases alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from kronforce.api.call import Principal
from kronforce.core.access import Scope
from kronforce.engine.explaining import Explained
from kronforce.engine.live import LiveExecution
from kronforce.engine.pull.calls import Appended
from kronforce.engine.pull.polls import Claim
from kronforce.store.agents import AgentRow
from kronforce.store.jobs import JobRow
from kronforce.v1.agent_service_pb2 import (
    AppendOutputRequest,
    ConnectRequest,
    ConnectResponse,
    FinishExecutionRequest,
    HeartbeatRequest,
    StreamOutputRequest,
    StreamOutputResponse,
)
from kronforce.v1.execution_service_pb2 import (
    ReadOutputRequest,
    ReadOutputResponse,
    WatchRunsRequest,
)
from kronforce.v1.job_service_pb2 import RerunRunRequest, TriggerJobRequest
from kronforce.v1.run_pb2 import RunUpdates

Updates = AbstractAsyncContextManager[AsyncIterator[RunUpdates]]


class Triggering(Protocol):
    """The one door: `engine.triggering.Triggering`."""

    async def trigger(
        self, scope: Scope, caller: Principal, requests: Sequence[TriggerJobRequest], /
    ) -> Sequence[Any]:
        """A `Triggered`, or the KronforceError that refused it, for each item in order."""
        ...


class Rerunning(Protocol):
    """Who runs runs again: `engine.rerunning.Rerunning`."""

    async def rerun(self, scope: Scope, caller: Principal, request: RerunRunRequest, /) -> Any:
        """A `Triggered`, or the KronforceError that refused it."""
        ...


class History(Protocol):
    """Who forgets: `engine.retention.Retention`."""

    async def clear(self, scope: Scope, job: JobRow, author: Principal, /) -> tuple[int, bool]:
        """How many runs of the job went, and whether more are left to go."""
        ...


class Watching(Protocol):
    """Who follows runs and output."""

    def watch(self, scope: Scope, principal: Principal, request: WatchRunsRequest, /) -> Updates:
        """Frames of what the request covers, while the context is open."""
        ...

    def watch_run(self, scope: Scope, run_id: str, include_output: bool, /) -> Updates:
        """Frames of one run, to its end."""
        ...

    def read_output(
        self, scope: Scope, request: ReadOutputRequest, /
    ) -> AsyncIterator[ReadOutputResponse]:
        """Frames of an execution's output."""
        ...


class Cancelling(Protocol):
    """Who ends runs and executions."""

    async def cancel_run(
        self, scope: Scope, run_id: str, author: Principal, reason: str, /
    ) -> Any: ...

    async def cancel_execution(
        self, scope: Scope, execution_id: str, author: Principal, reason: str, /
    ) -> Any: ...


class Explaining(Protocol):
    """Who says why: `engine.explaining.Explaining`."""

    async def explain(self, scope: Scope, run_id: str, /) -> Explained: ...


class Polls(Protocol):
    """Who answers custom agents: `engine.pull.polls.Polls`."""

    async def pull(self, caller: Principal, ref: str, wait: int, /) -> Claim | None:
        """Work, or None where there was none in time."""
        ...


class PullCalls(Protocol):
    """Who takes what custom agents report: `engine.pull.calls.Calls`."""

    def registered(self, agent: AgentRow, /) -> None: ...

    def attempt_of(self, live: LiveExecution, /) -> str:
        """What reports of it are to name."""
        ...

    async def heartbeat(self, caller: Principal, request: HeartbeatRequest, /) -> list[str]: ...

    async def append(self, caller: Principal, request: AppendOutputRequest, /) -> Appended: ...

    async def finish(self, caller: Principal, request: FinishExecutionRequest, /) -> None: ...


class Sessions(Protocol):
    """Who holds the agents' streams."""

    def connect(
        self, principal: Principal, requests: AsyncIterator[ConnectRequest], /
    ) -> AsyncIterator[ConnectResponse]: ...

    def stream_output(
        self, principal: Principal, requests: AsyncIterator[StreamOutputRequest], /
    ) -> AsyncIterator[StreamOutputResponse]: ...

    def live(self, agent_key: int, /) -> tuple[bool, int]:
        """Whether it is online, and how many executions it holds."""
        ...
