"""WatchRuns, RunJob and ReadOutput: a watcher's frames, live and from the store.

Each watch is one `Watcher` in the hub. Where a watcher fell behind, or came
late, what it misses is read from the store and handed on in order; then it is
live again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from kronforce.clock import Clock
from kronforce.core.access import Scope
from kronforce.core.ids import from_text, to_text
from kronforce.core.lifecycle import TERMINAL, State
from kronforce.engine.live import LiveExecution, LiveTable
from kronforce.engine.watching import (
    STDERR,
    STDOUT,
    Follower,
    Hub,
    Topic,
    Watcher,
    present_state,
    topics_of,
)
from kronforce.errors import (
    ExecutionNotFound,
    GroupNotFound,
    InvalidArgument,
    JobNotFound,
    RunNotFound,
)
from kronforce.store import output as output_store
from kronforce.store.executions import ExecutionRow, executions_of_runs, find_execution
from kronforce.store.jobs import find_job
from kronforce.store.runs import RunRow, runs_by_ids
from kronforce.store.store import Store
from kronforce.v1.agent_service_pb2 import ExecutionOutput
from kronforce.v1.execution_pb2 import OutputChunk
from kronforce.v1.execution_service_pb2 import (
    ReadOutputRequest,
    ReadOutputResponse,
    WatchRunsRequest,
)
from kronforce.v1.run_pb2 import RunUpdate, RunUpdates

# An empty frame this often shows that a stream lives.
HEARTBEAT_SECS = 15.0
MAX_RUN_IDS = 1_000
MAX_POSITIONS = 2_000
_STREAMS = ("stdout", "stderr")
# Bytes read from the store for one follower at a time.
READ_BYTES = 1 << 20
# How long a follower waits for output that is on its way to the store.
STORE_WAIT_SECS = 0.05


class Watcherly(Protocol):
    """Who watches; `api.call.Principal` is one."""

    @property
    def key(self) -> int: ...


class Views:
    """Serves watches."""

    def __init__(self, *, store: Store, clock: Clock, table: LiveTable, hub: Hub) -> None:
        self._store = store
        self._clock = clock
        self._table = table
        self._hub = hub

    @asynccontextmanager
    async def watch(
        self, scope: Scope, principal: Watcherly, request: WatchRunsRequest
    ) -> AsyncIterator[AsyncIterator[RunUpdates]]:
        """Frames of what the request covers, while the context is open."""
        topics, run_ids = await self._topics(scope, principal, request)
        watcher = Watcher(
            include_output=request.include_output, from_start=bool(run_ids), groups=scope.groups
        )
        watcher.positions = {(p.execution_id, int(p.stream)): p.offset for p in request.positions}
        self._hub.subscribe(watcher, topics)
        try:
            waiting = set(run_ids)
            if run_ids:
                waiting = await self._begin(scope, watcher, run_ids, request.cursor)
            else:
                self._tell_open(watcher, topics)
            yield self._frames(watcher, waiting, ends=bool(run_ids))
        finally:
            self._hub.unsubscribe(watcher, topics)

    @asynccontextmanager
    async def watch_run(
        self, scope: Scope, run_id: str, include_output: bool
    ) -> AsyncIterator[AsyncIterator[RunUpdates]]:
        """Frames of one run, to its end; the first names it at once."""
        topics: list[Topic] = [("run", run_id)]
        watcher = Watcher(include_output=include_output, from_start=True, groups=scope.groups)
        self._hub.subscribe(watcher, topics)
        try:
            waiting = await self._begin(scope, watcher, [run_id])
            yield self._frames(watcher, waiting, ends=True)
        finally:
            self._hub.unsubscribe(watcher, topics)

    async def _topics(
        self, scope: Scope, principal: Watcherly, request: WatchRunsRequest
    ) -> tuple[list[Topic], list[str]]:
        wanted = [*request.run_ids, *([request.run_id] if request.run_id else [])]
        named = [bool(request.run_ids), bool(request.run_id), bool(request.job_id),
                 bool(request.group), request.mine]  # fmt: skip
        if sum(named) != 1:
            raise InvalidArgument.of(
                ("run_ids", "set exactly one of run_ids, run_id, job_id, group, mine")
            )
        if len(request.positions) > MAX_POSITIONS:
            raise InvalidArgument.of(("positions", f"at most {MAX_POSITIONS}"))
        _refuse_negative(
            {f"positions[{n}].offset": each.offset for n, each in enumerate(request.positions)}
        )
        if wanted:
            if len(wanted) > MAX_RUN_IDS:
                raise InvalidArgument.of(("run_ids", f"at most {MAX_RUN_IDS}"))
            run_ids = [_canonical(run_id) for run_id in wanted]
            return [("run", run_id) for run_id in run_ids], run_ids
        if request.job_id:
            job = await self._store.read(find_job, scope, request.job_id)
            if job is None:
                raise JobNotFound(f"no job {request.job_id!r}; see `kronforce job list`")
            return [("job", job.key)], []
        if request.group:
            if not scope.allows_group(request.group):
                raise GroupNotFound(f"no group {request.group!r}")
            return [("group", request.group)], []
        return [("mine", (principal.key, request.client_id))], []

    def _tell_open(self, watcher: Watcher, topics: Sequence[Topic]) -> None:
        """The present state of every open run that the watch covers."""
        for run in self._table.runs.values():
            if watcher.may_see(run) and not topics_of(run).isdisjoint(topics):
                watcher.state(present_state(run))

    async def _begin(
        self, scope: Scope, watcher: Watcher, run_ids: Sequence[str], cursor: str = ""
    ) -> set[str]:
        """The present state of named runs; their output from where the watcher wants it.

        Gives the runs whose end is still to be told.
        """
        raw = [from_text(run_id) for run_id in run_ids]
        found = await self._store.read(runs_by_ids, scope, [r for r in raw if r is not None])
        for run_id, key in zip(run_ids, raw, strict=True):
            if key is None or key not in found:
                raise RunNotFound(f"no run {run_id!r}; see `kronforce run list`")  # fmt: skip
        by_run = await self._store.read(
            executions_of_runs, scope, [row.key for row in found.values()]
        )
        known: set[str] = set()
        for run in found.values():
            attempts = by_run.get(run.key, [])
            if watcher.include_output:
                self._follow_stored(watcher, run, attempts)
            run_id = to_text(run.id)
            ended = run.finished_at is not None
            if not self._hub.was_told(cursor, run_id, run.revision, run.state) or (
                # Its end waits for its output, so that a later cursor does not say it was seen.
                ended and watcher.include_output
            ):
                watcher.state(_state_of(run, attempts))
            elif ended:
                known.add(run_id)
        return set(run_ids) - known

    def _follow_stored(
        self, watcher: Watcher, run: RunRow, attempts: Sequence[ExecutionRow]
    ) -> None:
        """Have what is stored read first; what comes live meanwhile is found there too."""
        for row in attempts:
            pending = row.started_at is None and row.state == State.PENDING
            if pending and _is_untouched(self._table.by_id.get(to_text(row.id))):
                continue
            follower = Follower.stored(to_text(row.id), to_text(run.id), row.key)
            if follower.id_text in watcher.followers:
                # Its output has come live since the watch began; what came before is found then.
                continue
            for stream in (STDOUT, STDERR):
                follower.offsets[stream] = watcher.positions.get((follower.id_text, stream), 0)
            watcher.followers[follower.id_text] = follower

    async def _frames(
        self, watcher: Watcher, waiting: set[str], *, ends: bool
    ) -> AsyncIterator[RunUpdates]:
        """Frames until all named runs have ended, or for ever."""
        if not ends:
            # Says that the watch covers everything from now on, long before anything may happen.
            yield RunUpdates()
        while waiting or not ends:
            await self._catch_up(watcher)
            updates = watcher.take()
            if updates:
                yield RunUpdates(updates=updates)
                if ends:
                    waiting -= {u.run_id for u in updates if u.state.HasField("finished_at")}
                continue
            if watcher.closed:
                return
            timeout = STORE_WAIT_SECS if watcher.behind() else HEARTBEAT_SECS
            if not await self._clock.wait(watcher.wake, timeout) and not watcher.behind():
                yield RunUpdates()
            watcher.wake.clear()

    async def _catch_up(self, watcher: Watcher) -> None:
        for follower in watcher.behind():
            if watcher.has_room():
                await self._read_on(watcher, follower)

    async def _read_on(self, watcher: Watcher, follower: Follower) -> None:
        """Hand on what the store has beyond where the watcher stands."""
        # Looked at before the store is read: what ends in between is read in the next round.
        live = self._table.by_id.get(follower.id_text)
        ended = live is None or live.ended
        if follower.sequence < 0:
            follower.sequence = await self._store.read_output(
                output_store.sequence_before, follower.execution_key, follower.offsets
            )
        rows = await self._store.read_output(
            output_store.read_chunks, follower.execution_key, follower.sequence, READ_BYTES
        )
        for row in rows:
            self._hand_on(watcher, follower, row)
            follower.sequence = row.sequence
        if rows:
            return
        if ended:
            await self._hand_on_inline(watcher, follower)
            follower.behind = False
            watcher.wake.set()
        elif live is not None and not live.finishing and _has_all(follower, live.output):
            # A result that is being stored may hold output that came before this watcher did.
            follower.behind = False

    def _hand_on(self, watcher: Watcher, follower: Follower, row: output_store.ChunkRow) -> None:
        known = follower.offsets[row.stream]
        if row.start > known:
            gap = OutputChunk(stream=row.stream, offset=known, gap_bytes=row.start - known)  # type: ignore[arg-type]  # number
            watcher.deliver(follower, gap)
            known = row.start
        end = row.start + row.length
        if end <= known:
            return
        chunk = OutputChunk(stream=row.stream, offset=known, sequence=row.sequence)  # type: ignore[arg-type]  # number
        if row.data is None:
            chunk.gap_bytes = end - known
        else:
            chunk.data = row.data[known - row.start :]
        chunk.at.FromMicroseconds(row.at)
        watcher.deliver(follower, chunk)

    async def _hand_on_inline(self, watcher: Watcher, follower: Follower) -> None:
        """Output that came with the result."""
        data = await self._store.read(output_store.get_inline, follower.execution_key)
        if data is None:
            return
        for chunk in ExecutionOutput.FromString(data).chunks:
            known = follower.offsets[chunk.stream]
            end = chunk.offset + (len(chunk.data) or chunk.gap_bytes)
            if end > known:
                self._hand_on(watcher, follower, output_store.ChunkRow(
                    stream=chunk.stream, start=chunk.offset, length=end - chunk.offset,
                    sequence=chunk.sequence, at=chunk.at.ToMicroseconds(),
                    data=chunk.data or None,
                ))  # fmt: skip

    async def read_output(
        self, scope: Scope, request: ReadOutputRequest
    ) -> AsyncIterator[ReadOutputResponse]:
        """An execution's output from any place; with `follow`, to its end."""
        _refuse_negative({f"{n}_offset": getattr(request, f"{n}_offset") for n in _STREAMS})
        raw = from_text(request.execution_id)
        row = None if raw is None else await self._store.read(find_execution, scope, raw)
        if row is None:
            raise ExecutionNotFound(f"no execution {request.execution_id!r}")
        follower = Follower.stored(to_text(row.id), to_text(row.run_id), row.key)
        follower.offsets = {STDOUT: request.stdout_offset, STDERR: request.stderr_offset}
        watcher = Watcher(include_output=True, from_start=True, groups=scope.groups)
        watcher.followers[follower.id_text] = follower
        topics: list[Topic] = [("run", follower.run_id)]
        if request.follow:
            self._hub.subscribe(watcher, topics)
        try:
            async for frame in self._output_frames(scope, watcher, follower, request):
                yield frame
        finally:
            if request.follow:
                self._hub.unsubscribe(watcher, topics)

    async def _has_ended(self, scope: Scope, follower: Follower) -> bool:
        """What memory does not hold has ended, or waits for its turn in the store."""
        live = self._table.by_id.get(follower.id_text)
        if live is not None:
            return live.ended
        raw = from_text(follower.id_text)
        row = None if raw is None else await self._store.read(find_execution, scope, raw)
        return row is None or row.finished_at is not None

    async def _output_frames(
        self, scope: Scope, watcher: Watcher, follower: Follower, request: ReadOutputRequest
    ) -> AsyncIterator[ReadOutputResponse]:
        while True:
            ended = await self._has_ended(scope, follower)
            if ended:
                follower.behind = True
            before = dict(follower.offsets)
            await self._catch_up(watcher)
            chunks = [
                u.output.chunk
                for u in watcher.take()
                if u.HasField("output")
                and u.output.execution_id == follower.id_text
                and request.stream in (0, u.output.chunk.stream)
            ]
            if chunks:
                yield ReadOutputResponse(chunks=chunks)
                continue
            if before != follower.offsets:
                continue
            if (ended and not follower.behind) or not request.follow:
                return
            timeout = STORE_WAIT_SECS if follower.behind else HEARTBEAT_SECS
            if not await self._clock.wait(watcher.wake, timeout) and not follower.behind:
                yield ReadOutputResponse()
            watcher.wake.clear()


def _refuse_negative(offsets: Mapping[str, int]) -> None:
    """Nothing lies before an output's beginning, and a gap there would be none."""
    if wrong := [(field, "is negative") for field, offset in offsets.items() if offset < 0]:
        raise InvalidArgument.of(*wrong)


def _canonical(run_id: str) -> str:
    """The id as we write it, so that it names the same run in memory too."""
    raw = from_text(run_id)
    return run_id if raw is None else to_text(raw)


def _is_untouched(live: LiveExecution | None) -> bool:
    """Whether nothing of it can have been told to watchers yet, whatever the store says."""
    return (
        live is not None and live.started_at is None and live.output is None and not live.finishing
    )


def _has_all(follower: Follower, output: object) -> bool:
    """Whether the watcher has everything that has come so far."""
    offsets = getattr(output, "offsets", None)
    if offsets is None:
        return True
    return all(follower.offsets[stream] >= offsets[stream] for stream in (STDOUT, STDERR))


def _state_of(run: RunRow, attempts: Sequence[ExecutionRow]) -> RunUpdate:
    """A run's state as the store has it."""
    update = RunUpdate(run_id=to_text(run.id))
    state = update.state
    state.state, state.state_reason = run.state, run.state_reason  # type: ignore[assignment]  # number
    state.revision = run.revision
    state.job_id, state.job_name = to_text(run.job_id), run.job_name
    if run.started_at is not None:
        state.started_at.FromMicroseconds(run.started_at)
    if State(run.state) in TERMINAL and run.finished_at is not None:
        state.finished_at.FromMicroseconds(run.finished_at)
        if run.outputs is not None:
            state.outputs.ParseFromString(run.outputs)
    if attempts:
        last = attempts[-1]
        state.execution_id, state.execution_state = to_text(last.id), last.state  # type: ignore[assignment]  # number
        state.attempt_number, state.agent_name = last.attempt_number, last.agent_name or ""
        state.message = last.message
        if last.exit_code is not None:
            state.exit_code = last.exit_code
    return update
