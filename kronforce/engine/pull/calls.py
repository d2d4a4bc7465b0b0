"""What custom agents report: heartbeats, output while it runs, and how it ended.

Each report names its attempt. One that is not the current one changes nothing and is kept as
evidence; a repetition of what is stored is acknowledged. An end is answered when it is stored,
never before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from kronforce.clock import Clock
from kronforce.core.ids import from_text
from kronforce.core.lifecycle import Reason, State
from kronforce.core.pull_rules import LEASE_SECS
from kronforce.engine.agents.directory import Directory
from kronforce.engine.completion import Completion
from kronforce.engine.live import LiveExecution, LiveTable
from kronforce.engine.output import OutputIntake
from kronforce.engine.pull.callers import Caller, agent_of_caller, speaks_for
from kronforce.engine.pull.polls import Polls, cancels_of
from kronforce.engine.result_output import MAX_INLINE
from kronforce.errors import ExecutionNotFound, InvalidArgument, StaleFence
from kronforce.security.attempt_tokens import AttemptTokens
from kronforce.store.agents import AgentRow
from kronforce.store.sessions import Reported, keep_late, reported
from kronforce.store.store import Store
from kronforce.v1.agent_service_pb2 import (
    AppendOutputRequest,
    ExecutionOutput,
    FinishExecutionRequest,
    HeartbeatRequest,
    OutputProgress,
    Result,
)
from kronforce.v1.execution_pb2 import OUTPUT_STREAM_STDERR, OUTPUT_STREAM_STDOUT, OutputChunk

# What one chunk of a report's output holds.
CHUNK_BYTES = 256 << 10
MESSAGE_MAX = 1_000

_ENDS = {
    int(state): state for state in (State.SUCCEEDED, State.FAILED, State.TIMED_OUT, State.CANCELLED)
}
_CUT = "its agent cut {}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Appended:
    """How far output is stored, and whether the execution is to end."""

    stored_sequence: int
    cancel: bool


class Calls:
    """Every call of a custom agent but its poll."""

    def __init__(
        self, *, store: Store, clock: Clock, table: LiveTable, directory: Directory,
        completion: Completion, output: OutputIntake, polls: Polls, tokens: AttemptTokens,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._table = table
        self._directory = directory
        self._completion = completion
        self._output = output
        self._polls = polls
        self._tokens = tokens
        # Agents that have called Heartbeat since they registered, or since this controller started.
        self.beating: set[int] = set()
        # When an execution's output came last, on the monotonic clock.
        self.talked: dict[str, float] = {}

    def attempt_of(self, live: LiveExecution) -> str:
        """What reports of it are to name."""
        return self._tokens.make(live.id_text, live.fence)

    async def heartbeat(self, caller: Caller, request: HeartbeatRequest) -> list[str]:
        """The agent lives; what of its executions is to end."""
        agent = agent_of_caller(self._directory, caller, request.agent_id)
        session = await self._polls.session_of(agent)
        self.beating.add(agent.key)
        if request.HasField("held"):
            named = set(request.held.execution_ids)
            waiting = {live.id_text for live in session.undelivered()}
            for live in list(session.held.values()):
                if live.id_text not in named | waiting and self._is_old(live):
                    session.drop(live)
                    self._completion.lost(live, Reason.AGENT_RESTARTED)
        return cancels_of(session)

    def _is_old(self, live: LiveExecution) -> bool:
        """Whether it was given so long ago that the agent must know of it."""
        since = live.assigned_at
        return not live.finishing and (
            since is None or self._clock.monotonic() - since > LEASE_SECS
        )

    def registered(self, agent: AgentRow) -> None:
        """It was enrolled, or restarted: what it was given before it may know nothing of."""
        self.beating.discard(agent.key)
        self._polls.restarted(agent)

    def forget_ended(self) -> None:
        """Keep nothing of what has ended by whatever means."""
        for execution_id in [each for each in self.talked if each not in self._table.by_id]:
            del self.talked[execution_id]

    async def append(self, caller: Caller, request: AppendOutputRequest) -> Appended:
        """Store output of what runs. Raises StaleFence where it is not the caller's any more."""
        live, agent = await self._current(caller, request.execution_id, request.attempt)
        if live is None or live.finishing:
            raise _stale(request.execution_id)
        self.talked[live.id_text] = self._clock.monotonic()
        message = ExecutionOutput(execution_id=live.id_text, fence=live.fence)
        message.chunks.extend(request.chunks)
        state = self._output.state_of(live)
        self._output.receive(agent.key, message, _nobody)
        ends = tuple(state.offsets.values())
        while not (live.ended or state.is_stored_to(*ends)):
            stored = asyncio.Event()
            state.waiting.append(stored.set)
            await stored.wait()
        return Appended(stored_sequence=state.stored_sequence, cancel=bool(live.cancel_reason))

    async def finish(self, caller: Caller, request: FinishExecutionRequest) -> None:
        """How it ended; returns when that is stored. Raises StaleFence for a late report."""
        _check(request)
        live, agent = await self._current(caller, request.execution_id, request.attempt)
        if live is None:
            await self._late(agent, request)
            return
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell() -> None:
            if not stored.done():
                stored.set_result(None)

        if live.finishing:
            # Somebody ends it already, most likely this very report.
            live.dones.append(tell)
            await stored
            await self._late(agent, request)
            return
        self._completion.result(live, self._result(live, agent, request), tell)
        self._store.main.wake()
        await stored

    async def _late(self, agent: AgentRow, request: FinishExecutionRequest) -> None:
        """It has ended: a repetition is fine, anything else is kept and refused."""
        fence = self._fence_in(request.execution_id, request.attempt)
        found = await self._store.read(reported, from_text(request.execution_id) or b"")
        if found is not None and _is_repeated(found, (agent.key, fence), request.status):
            return
        await self._store.write(
            keep_late, request.execution_id, fence, request.SerializeToString(),
            self._clock.now_us(),
        )  # fmt: skip
        raise _stale(request.execution_id)

    async def _current(
        self, caller: Caller, execution_id: str, attempt: str
    ) -> tuple[LiveExecution | None, AgentRow]:
        """The live execution under this attempt, and whose it is; None: it is not live so."""
        fence = self._fence_in(execution_id, attempt)
        live = self._table.by_id.get(execution_id)
        row = None
        if live is not None and live.agent_key is not None:
            row = self._directory.rows.get(live.agent_key)
        if live is None or live.fence != fence or row is None or not speaks_for(caller, row):
            return None, await self._reporter(caller, execution_id)
        if not live.finishing:
            # Opened where there is none, so that what masks its output is there again.
            await self._polls.session_of(row)
        return (None if live.ended else live), row

    async def _reporter(self, caller: Caller, execution_id: str) -> AgentRow:
        """Who speaks of an execution that is not theirs now. Raises ExecutionNotFound."""
        raw = from_text(execution_id)
        found = None if raw is None else await self._store.read(reported, raw)
        if found is not None:
            mine = [row for row in self._directory.rows.values() if speaks_for(caller, row)]
            same = [row for row in mine if row.key == found.agent_key]
            if mine:
                return (same or mine)[0]
        raise ExecutionNotFound(f"no execution {execution_id!r} of an agent that this key enrolled")

    def _fence_in(self, execution_id: str, attempt: str) -> int:
        fence = self._tokens.read(execution_id, attempt)
        if fence is None:
            raise InvalidArgument.of(
                (
                    "attempt",
                    "is not the one that came with the work; report to its callback_url, or send "
                    "`attempt` as it came",
                )
            )
        return fence

    # What is made of a report.

    def _result(
        self, live: LiveExecution, agent: AgentRow, request: FinishExecutionRequest
    ) -> Result:
        result = Result(
            state=request.status,
            state_reason=_reason(request),
            message=request.message[:MESSAGE_MAX],
        )
        if request.HasField("exit_code"):
            result.exit_code = request.exit_code
        for name in ("started_at", "finished_at", "outputs"):
            if request.HasField(name):
                getattr(result, name).CopyFrom(getattr(request, name))
        cut = [name for name in ("stdout", "stderr") if getattr(request, f"{name}_truncated")]
        if cut:
            live.note = "; ".join(filter(None, (live.note, _CUT.format(" and ".join(cut)))))
        self._take_output(live, agent, request, result)
        return result

    def _take_output(
        self, live: LiveExecution, agent: AgentRow, request: FinishExecutionRequest, result: Result
    ) -> None:
        """A little rides in the result, more goes before it, like output that was streamed."""
        chunks = list(_chunks(request))
        size = sum(len(chunk.data) for chunk in chunks)
        known = {1: 0, 2: 0} if live.output is None else live.output.offsets
        if size > MAX_INLINE:
            message = ExecutionOutput(execution_id=live.id_text, fence=live.fence, chunks=chunks)
            self._output.receive(agent.key, message, _nobody)
            if live.masks is not None:
                self._output.release_held(live)
            known = self._output.state_of(live).offsets
        elif chunks:
            result.output.extend(chunks)
        ends = {chunk.stream: chunk.offset + len(chunk.data) for chunk in chunks}
        result.stdout_bytes = max(known[1], ends.get(OUTPUT_STREAM_STDOUT, 0))
        result.stderr_bytes = max(known[2], ends.get(OUTPUT_STREAM_STDERR, 0))


# What a report may have made of its execution: one that was asked to end ends by that.
_MADE = {
    State.SUCCEEDED: {State.SUCCEEDED},
    State.FAILED: {State.FAILED, State.CANCELLED, State.TIMED_OUT},
    State.TIMED_OUT: {State.TIMED_OUT},
    State.CANCELLED: {State.CANCELLED, State.TIMED_OUT},
}


def _is_repeated(found: Reported, attempt: tuple[int, int], status: int) -> bool:
    """Whether the stored end is what this report, or an earlier copy of it, made of it."""
    same = (found.agent_key, found.fence) == attempt and found.started
    return same and found.state in _MADE[_ENDS[status]]


def _check(request: FinishExecutionRequest) -> None:
    problems = []
    if request.status not in _ENDS:
        problems.append(("status", "is required: succeeded, failed, timed_out or cancelled"))
    offsets = ("stdout_offset", "stderr_offset")
    problems += [(name, "is negative") for name in offsets if getattr(request, name) < 0]
    if problems:
        raise InvalidArgument.of(*problems)


def _reason(request: FinishExecutionRequest) -> str:
    failed = int(request.status) == State.FAILED
    return Reason.EXIT_CODE if failed and request.exit_code else ""


def _chunks(request: FinishExecutionRequest) -> Iterator[OutputChunk]:
    for stream, text, offset in (
        (OUTPUT_STREAM_STDOUT, request.stdout, request.stdout_offset),
        (OUTPUT_STREAM_STDERR, request.stderr, request.stderr_offset),
    ):
        data = text.encode()
        for start in range(0, len(data), CHUNK_BYTES):
            part = data[start : start + CHUNK_BYTES]
            chunk = OutputChunk(stream=stream, offset=offset + start, data=part)
            if request.HasField("finished_at"):
                chunk.at.CopyFrom(request.finished_at)
            yield chunk


def _stale(execution_id: str) -> StaleFence:
    return StaleFence(
        f"execution {execution_id} is not this attempt's any more: it has ended, or was given to "
        "somebody else; the report was kept as evidence",
        execution=execution_id,
    )


def _nobody(_progress: OutputProgress) -> None:
    return None
