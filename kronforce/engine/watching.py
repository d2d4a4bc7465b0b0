"""Live views of runs: states and output to any number of watchers.

Fed from memory after each commit, and level-triggered: a slow reader gets the
newest state of a run, not each one in between, and output that it could not
take in time is read again from the store, so that no watcher slows an agent
and none loses a byte. Buffers are bounded; what overflows them is marked, not
kept.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence

from kronforce.core.lifecycle import Reason
from kronforce.engine.live import LiveExecution, LiveRun
from kronforce.v1.execution_pb2 import OutputChunk
from kronforce.v1.run_pb2 import Progress, RunStatus, RunUpdate

# Output bytes that wait for one watcher; beyond it the rest is read from the store.
BUFFER_BYTES = 1 << 20
# What an update counts beside its bytes, so that many small ones are bounded too.
UPDATE_BYTES = 256
# Updates in one frame, so that a frame stays well below the message limit of 4 MiB.
FRAME_BYTES = 1 << 20
# States that wait for one watcher, one per run; beyond it new runs are counted as dropped.
MAX_STATES = 10_000

# Runs whose last told state is remembered for watchers that come back.
TOLD = 10_000

Topic = tuple[str, object]

PENDING, RUNNING = 1, 3
STDOUT, STDERR = 1, 2


class Follower:
    """How far one watcher has seen one execution's output."""

    __slots__ = ("behind", "execution_key", "id_text", "offsets", "run_id", "sequence")

    def __init__(self, id_text: str, run_id: str, execution_key: int) -> None:
        self.id_text = id_text
        self.run_id = run_id
        self.execution_key = execution_key
        # The last sequence that was handed on; -1: find the place by the offsets.
        self.sequence = -1
        self.offsets = {STDOUT: 0, STDERR: 0}
        # What came live could not be taken: read it from the store.
        self.behind = False

    @classmethod
    def stored(cls, id_text: str, run_id: str, execution_key: int) -> Follower:
        """One that begins with what the store has."""
        follower = cls(id_text, run_id, execution_key)
        follower.behind = True
        return follower


class Change:
    """A run that goes on has changed; what it is now is looked up when the reader takes it."""

    __slots__ = ("cursor", "live", "reason", "revision", "run")

    def __init__(self, run: LiveRun, live: LiveExecution | None, reason: str, cursor: str) -> None:
        self.run = run
        self.live = live
        self.reason = reason
        self.cursor = cursor
        self.revision = run.revision

    def update(self) -> RunUpdate:
        """The run's present state."""
        update = present_state(self.run)
        if self.live is not None:
            _describe(update.state, self.live)
        update.state.state_reason = self.reason
        update.cursor = self.cursor
        return update


def held_revision(held: Change | RunUpdate) -> int:
    """The revision that a waiting state shows, at least."""
    return held.state.revision if isinstance(held, RunUpdate) else held.revision


class Watcher:
    """One reader. The hub puts updates in, the reader's stream takes frames out."""

    def __init__(
        self, *, include_output: bool, from_start: bool, groups: frozenset[str] | None = None
    ) -> None:
        self.include_output = include_output
        # The groups of whoever reads; None: all. A job may move out of them while it is watched.
        self.groups = groups
        self._from_start = from_start
        # By run id: what has changed of runs that go on, told as it is when it is taken; and ends.
        self._changes: dict[str, Change | RunUpdate] = {}
        self._ends: dict[str, RunUpdate] = {}
        self._outputs: deque[RunUpdate] = deque()
        self._buffered = 0
        self._dropped = 0
        # By execution id, until its run's last state is taken.
        self.followers: dict[str, Follower] = {}
        # Where output goes on after a reconnect, by (execution id, stream).
        self.positions: dict[tuple[str, int], int] = {}
        self.wake = asyncio.Event()
        self.closed = False

    def may_see(self, run: LiveRun) -> bool:
        """Whether the run is in the reader's groups."""
        return self.groups is None or run.group in self.groups

    def state(self, update: RunUpdate) -> None:
        """A run's newest state takes the place of one that was not taken yet."""
        run_id = update.run_id
        if update.state.HasField("finished_at"):
            if self._has_place(run_id):
                self._changes.pop(run_id, None)
                self._ends[run_id] = update
            else:
                self._forget({run_id})
        elif run_id not in self._ends and self._has_place(run_id):
            held = self._changes.get(run_id)
            # A snapshot may have been read while the run went on.
            if held is None or held_revision(held) <= update.state.revision:
                self._changes[run_id] = update
        self.wake.set()

    def changed(self, change: Change) -> None:
        """The same for a run that goes on; the update is made when it is taken."""
        run_id = change.run.id_text
        if run_id not in self._ends and self._has_place(run_id):
            self._changes[run_id] = change
        self.wake.set()

    def _has_place(self, run_id: str) -> bool:
        """Whether another state may wait; one that may not is counted."""
        waiting = len(self._changes) + len(self._ends)
        if waiting < MAX_STATES or run_id in self._changes or run_id in self._ends:
            return True
        self._dropped += 1
        return False

    def output(self, live: LiveExecution, chunks: Sequence[OutputChunk]) -> None:
        """Live output, in order."""
        follower = self.follower(live, chunks)
        for chunk in chunks:
            self._take(follower, chunk)
        self.wake.set()

    def follower(self, live: LiveExecution, chunks: Sequence[OutputChunk]) -> Follower:
        """The execution's follower, made at first sight."""
        found = self.followers.get(live.id_text)
        if found is None:
            found = Follower(live.id_text, live.run.id_text, live.key)
            if self._from_start:
                for stream in found.offsets:
                    found.offsets[stream] = self.positions.get((live.id_text, stream), 0)
            else:
                for chunk in reversed(chunks):
                    found.offsets[chunk.stream] = chunk.offset
            self.followers[live.id_text] = found
        return found

    def _take(self, follower: Follower, chunk: OutputChunk) -> None:
        known = follower.offsets[chunk.stream]
        end = chunk.offset + (len(chunk.data) or chunk.gap_bytes)
        if end <= known:
            return
        if follower.behind or chunk.offset > known or self._buffered > BUFFER_BYTES:
            # Its place in the store is found by the offsets.
            follower.sequence = follower.sequence if follower.behind else -1
            follower.behind = True
            return
        if chunk.offset < known:
            chunk = _cut(chunk, known)
        self.deliver(follower, chunk)

    def deliver(self, follower: Follower, chunk: OutputChunk) -> None:
        """Queue a chunk that goes on where the watcher stands."""
        follower.offsets[chunk.stream] = chunk.offset + (len(chunk.data) or chunk.gap_bytes)
        update = RunUpdate(run_id=follower.run_id)
        update.output.execution_id = follower.id_text
        update.output.chunk.CopyFrom(chunk)
        self._outputs.append(update)
        self._buffered += _cost(update)
        self.wake.set()

    def progress(self, update: RunUpdate) -> None:
        """Progress is shown in order with output, and dropped where the reader is slow."""
        if self._buffered <= BUFFER_BYTES:
            self._outputs.append(update)
            self._buffered += _cost(update)
            self.wake.set()

    def behind(self) -> list[Follower]:
        """Whose output must be read from the store."""
        return [f for f in self.followers.values() if f.behind]

    def has_room(self) -> bool:
        """Whether output read from the store may be queued."""
        return self._buffered <= BUFFER_BYTES

    def take(self) -> list[RunUpdate]:
        """What is ready, in order: first states, output, last states."""
        late = {f.run_id for f in self.followers.values() if f.behind}
        frame: list[RunUpdate] = []
        if self._dropped:
            gap = RunUpdate()
            gap.gap.dropped, self._dropped = self._dropped, 0
            frame.append(gap)
        frame += [
            change if isinstance(change, RunUpdate) else change.update()
            for change in self._changes.values()
        ]
        self._changes = {}
        size = 0
        while self._outputs and size < FRAME_BYTES:
            update = self._outputs.popleft()
            size += _cost(update)
            frame.append(update)
        self._buffered -= size
        if self._outputs:
            self.wake.set()
            return frame
        # A run's last state follows all of its output.
        ended = {run_id: u for run_id, u in self._ends.items() if run_id not in late}
        if ended:
            self._ends = {run_id: self._ends[run_id] for run_id in late if run_id in self._ends}
            self._forget(ended)
            frame += ended.values()
        return frame

    def _forget(self, run_ids: Collection[str]) -> None:
        """Nothing comes of these runs any more."""
        if self.followers:
            self.followers = {
                id_: f for id_, f in self.followers.items() if f.run_id not in run_ids
            }

    def close(self) -> None:
        """End the stream after what is queued."""
        self.closed = True
        self.wake.set()


def _cost(update: RunUpdate) -> int:
    """What an update that waits for its reader counts."""
    return UPDATE_BYTES + len(update.output.chunk.data)


def _cut(chunk: OutputChunk, known: int) -> OutputChunk:
    """The part of a chunk from an offset on."""
    cut = OutputChunk(stream=chunk.stream, offset=known, sequence=chunk.sequence)
    if chunk.data:
        cut.data = chunk.data[known - chunk.offset :]
    else:
        cut.gap_bytes = chunk.offset + chunk.gap_bytes - known
    if chunk.HasField("at"):
        cut.at.CopyFrom(chunk.at)
    return cut


class Hub:
    """Who watches what."""

    def __init__(self) -> None:
        self._topics: dict[Topic, list[Watcher]] = {}
        # Watchers that do not see every group; most are none of these.
        self._limited = 0
        # Cursors count what this process has told; another process's are not known.
        self._process = secrets.token_hex(4)
        self._sequence = 0
        # run id → (sequence, revision, state) of what was told last, of the newest `TOLD` runs.
        self._told: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    def was_told(self, cursor: str, run_id: str, revision: int, state: int) -> bool:
        """Whether a watcher that got as far as `cursor` has this state of the run already."""
        process, _, number = cursor.partition("-")
        told = self._told.get(run_id)
        if told is None or process != self._process or not number.isdigit():
            return False
        return told[0] <= int(number) and told[1:] == (revision, state)

    def _next_cursor(self, run: LiveRun) -> str:
        """The cursor of a state that is told now."""
        self._sequence += 1
        self._told[run.id_text] = (self._sequence, run.revision, run.state)
        self._told.move_to_end(run.id_text)
        if len(self._told) > TOLD:
            self._told.popitem(last=False)
        return f"{self._process}-{self._sequence}"

    def subscribe(self, watcher: Watcher, topics: Sequence[Topic]) -> None:
        self._limited += watcher.groups is not None
        for topic in topics:
            self._topics.setdefault(topic, []).append(watcher)

    def unsubscribe(self, watcher: Watcher, topics: Sequence[Topic]) -> None:
        self._limited -= watcher.groups is not None
        for topic in topics:
            watchers = self._topics.get(topic, [])
            if watcher in watchers:
                watchers.remove(watcher)
            if not watchers:
                self._topics.pop(topic, None)

    def _watchers(self, run: LiveRun) -> list[Watcher]:
        if not self._topics:
            return []
        # As topics_of, without making the set: every change of every run comes by here.
        at = self._topics.get
        found = [
            *at(("run", run.id_text), ()),
            *at(("job", run.job.key), ()),
            *at(("group", run.group), ()),
            *at(("mine", (run.principal_key, run.client_id)), ()),
        ]
        if self._limited:
            found = [watcher for watcher in found if watcher.may_see(run)]
        return found if len(found) < 2 else list(dict.fromkeys(found))

    def run_created(self, run: LiveRun, *, waiting: bool) -> None:
        """A run is durable."""
        self._tell(run, None, Reason.CONCURRENCY if waiting else "")

    def changed(self, live: LiveExecution, *, reason: str = "") -> None:
        """An execution was assigned, started, or is to end."""
        self._tell(live.run, live, reason)

    def _tell(self, run: LiveRun, live: LiveExecution | None, reason: str) -> None:
        watchers = self._watchers(run)
        if watchers:
            change = Change(run, live, reason, self._next_cursor(run))
            for watcher in watchers:
                watcher.changed(change)

    def ended(self, live: LiveExecution, describe: Callable[[RunStatus], None]) -> None:
        """An execution ended; `describe` says how, its run's end included."""
        watchers = self._watchers(live.run)
        if not watchers:
            return
        update = present_state(live.run)
        update.cursor = self._next_cursor(live.run)
        _describe(update.state, live)
        describe(update.state)
        for watcher in watchers:
            watcher.state(update)

    def output(self, live: LiveExecution, chunks: Sequence[OutputChunk]) -> None:
        """Output has come, stored or not."""
        for watcher in self._watchers(live.run):
            if watcher.include_output:
                watcher.output(live, chunks)

    def progress(self, live: LiveExecution, progress: Progress) -> None:
        """The task said how far it is."""
        watchers = self._watchers(live.run)
        if watchers:
            update = RunUpdate(run_id=live.run.id_text)
            update.progress.CopyFrom(progress)
            update.progress.execution_id = live.id_text
            for watcher in watchers:
                watcher.progress(update)


def topics_of(run: LiveRun) -> set[Topic]:
    """Everything that a watch of this run may go by."""
    return {
        ("run", run.id_text),
        ("job", run.job.key),
        ("group", run.group),
        ("mine", (run.principal_key, run.client_id)),
    }


def present_state(run: LiveRun) -> RunUpdate:
    """A live run's state, as memory has it."""
    update = RunUpdate(run_id=run.id_text)
    state = update.state
    state.state = run.state  # type: ignore[assignment]  # the enum's number
    state.revision = run.revision
    state.job_id, state.job_name = run.job.id_text, run.job.name
    if run.started_at is not None:
        state.started_at.FromMicroseconds(run.started_at)
    return update


def _describe(status: RunStatus, live: LiveExecution) -> None:
    status.execution_id = live.id_text
    status.execution_state = RUNNING if live.started_at is not None else PENDING  # type: ignore[assignment]  # numbers
    status.attempt_number = live.attempt_number
    status.agent_name = live.agent_name
