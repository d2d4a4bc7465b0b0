"""One agent's session: its slots, what it holds, and the frames that go to it.

One writer per stream sends whatever is queued as one frame, with no timer. A
session belongs to one epoch of its agent; when it is closed nothing is sent
any more, and what it held waits for the agent's return.
"""

from __future__ import annotations

import asyncio
from collections import deque
from math import ceil
from typing import Protocol

from kronforce.core.targets import AgentView
from kronforce.engine.live import LiveExecution
from kronforce.engine.values.resolving import Resolved
from kronforce.errors import PermissionDenied
from kronforce.v1 import agent_service_pb2 as pb

# Messages that may wait for a slow agent before its session is closed: each assignment is
# answered, so more than a few per slot means that nobody reads.
MAX_QUEUED = 100_000

# Messages in one frame, and its bytes unless a single message has more: below the 4 MiB that
# any client takes without being told to take more.
FRAME = 1024
FRAME_BYTES = 2 << 20
# More than a message has beside its job's assignment and its run's params.
OWN_BYTES = 200

# A run's own deadline is the controller's to keep; an agent that hears nothing of it for so long
# ends the attempt by itself.
CUT_OFF_SECS = 5
# More than any timeout.
MAX_TIMEOUT_SECS = 2**32


class Session:
    """What the controller knows of a connected agent."""

    # Whether it asks for its work and calls back (`engine/pull`), in place of holding a stream.
    pulls = False

    __slots__ = (
        "_bytes", "_count", "_frames", "_queued", "agent_draining", "agent_id", "agent_key",
        "agent_name", "asked", "boot_id", "busy", "closed", "draining", "epoch", "free", "held",
        "last_heard", "last_used", "mismatches", "redacts", "session_id", "slots",
        "stale_reports", "view", "wake",
    )  # fmt: skip

    def __init__(self, *, agent_key: int, agent_id: bytes, agent_name: str, epoch: int,
                 session_id: str, boot_id: str, slots: int, draining: bool, view: AgentView,
                 now: float, redacts: bool = False):  # fmt: skip
        self.agent_key = agent_key
        self.agent_id = agent_id
        self.agent_name = agent_name
        self.epoch = epoch
        self.session_id = session_id
        self.boot_id = boot_id
        self.slots = slots
        self.free = slots
        # Drained by an admin, and by the agent itself (stopping, or its spool is nearly full).
        self.draining = draining
        self.agent_draining = False
        # It said that it has less room than we thought, a moment ago.
        self.busy = False
        self.view = view
        # Whether it masks secrets in output itself.
        self.redacts = redacts
        self.held: dict[str, LiveExecution] = {}
        self.last_heard = now
        self.last_used = 0
        self.mismatches = 0
        # Reports under another fence that are being stored.
        self.stale_reports = 0
        # What it held when it was asked for an inventory, by execution id.
        self.asked: frozenset[str] = frozenset()
        self.closed = False
        self.wake = asyncio.Event()
        # What waits, written into its frames at once; of the last one, its messages and bytes.
        self._frames: deque[pb.ConnectResponse] = deque()
        self._queued = self._count = self._bytes = 0

    def __gt__(self, other: Session) -> bool:
        """Whether it is to be preferred: most free slots, then least recently used."""
        return (self.free, -self.last_used) > (other.free, -other.last_used)

    @property
    def takes_work(self) -> bool:
        return not (self.draining or self.agent_draining or self.busy or self.closed)

    @property
    def asks(self) -> bool:
        """Whether it takes what it is given: with a stream always, else while it polls."""
        return True

    @property
    def drains(self) -> bool:
        """Whether it takes nothing new until somebody or something changes that."""
        return self.draining or self.agent_draining or self.closed

    def reserve(self, use: int) -> None:
        """Take a slot; `use` counts assignments and only orders."""
        self.free -= 1
        self.last_used = use

    def release(self) -> None:
        """Give a slot back."""
        self.free += 1

    def hold(self, live: LiveExecution) -> None:
        """From now on the agent has it, or may."""
        live.session = self
        live.agent_key, live.agent_id = self.agent_key, self.agent_id
        live.agent_name = self.agent_name
        self.held[live.id_text] = live

    def drop(self, live: LiveExecution) -> None:
        """It has ended, or never started: its slot is free."""
        if self.held.pop(live.id_text, None) is not None:
            self.release()

    def send(self, message: pb.ControllerMessage) -> None:
        """Queue a message; it goes with the next frame."""
        place = self._place(message.ByteSize())
        if place is not None:
            place.CopyFrom(message)

    def _place(self, size: int) -> pb.ControllerMessage | None:
        """Room for a message of so many bytes behind what waits; None: nothing is sent any more."""
        if self.closed:
            return None
        if self._queued >= MAX_QUEUED:
            self.close()
            return None
        full = self._count >= FRAME or (self._count and self._bytes + size > FRAME_BYTES)
        if full or not self._frames:
            self._frames.append(pb.ConnectResponse())
            self._count = self._bytes = 0
        self._count += 1
        self._bytes += size
        self._queued += 1
        self.wake.set()
        return self._frames[-1].messages.add()

    def assign(self, live: LiveExecution, resolved: Resolved | None = None) -> None:
        """Queue the assignment of an execution that it holds, with what its job names put in."""
        if resolved is not None:
            message = pb.ControllerMessage()
            fill(message, live)
            put_in(message.assignment, resolved)
            self.send(message)
            return
        size = live.run.job.assignment_bytes + len(live.run.params or b"")
        place = self._place(size + OWN_BYTES)
        if place is not None:
            fill(place, live)

    def acknowledge(
        self, execution_id: str, fence: int, kind: pb.AcknowledgeKind.ValueType
    ) -> None:
        """Queue an acknowledgement."""
        place = self._place(OWN_BYTES)
        if place is not None:
            place.execution_id, place.fence = execution_id, fence
            place.acknowledge.kind = kind

    async def next_frame(self) -> pb.ConnectResponse | None:
        """Wait for messages and take them; None once the session is closed."""
        while not (self._frames or self.closed):
            self.wake.clear()
            await self.wake.wait()
        if self.closed:
            return None
        frame = self._frames.popleft()
        self._queued -= len(frame.messages)
        return frame

    def close(self) -> None:
        """Send nothing more; whoever waits for a frame gets None."""
        self.closed = True
        self.wake.set()


def fill(message: pb.ControllerMessage, live: LiveExecution) -> None:
    """The assignment of an execution, as its job defines it."""
    run = live.run
    message.CopyFrom(run.job.assignment)
    message.execution_id = live.id_text
    message.fence = live.fence
    a = message.assignment
    a.run_id = run.id_text
    a.trigger = run.trigger  # type: ignore[assignment]  # the enum's number, as stored
    if live.attempt_number != 1:
        a.attempt_number = live.attempt_number
    if run.params is not None:
        a.params.MergeFromString(run.params)
    if run.nominal_at is not None:
        a.nominal_at.FromMicroseconds(run.nominal_at)
    if run.job.run_timeout_us:
        a.timeout.seconds = min(a.timeout.seconds or MAX_TIMEOUT_SECS, _secs_left(live))


def put_in(assignment: pb.Assignment, resolved: Resolved) -> None:
    """The task with everything put in, and what goes with it."""
    assignment.task.CopyFrom(resolved.task)
    for name, value in resolved.values:
        assignment.values.add(name=name, value=value)
    assignment.secrets.extend(resolved.secrets)


def _secs_left(live: LiveExecution) -> int:
    """After how many seconds an agent that is cut off by then ends it on its own."""
    run = live.run
    left = float(run.job.settings.run_timeout_secs)
    if run.ends_at is not None and live.assigned_at is not None:
        left = max(1.0, run.ends_at - live.assigned_at)
    return ceil(left) + CUT_OFF_SECS


class AgentPrincipal(Protocol):
    """Who connects; `api.call.Principal` is one."""

    @property
    def agent_key(self) -> int | None: ...


def agent_of(principal: AgentPrincipal) -> int:
    if principal.agent_key is None:
        raise PermissionDenied("sessions need an agent's own credential; enrol with RegisterAgent")
    return principal.agent_key
