"""One agent's session: its slots, what it holds, and the frames that go to it.

One writer per stream sends whatever is queued as one frame, with no timer. A
session belongs to one epoch of its agent; when it is closed nothing is sent
any more, and what it held waits for the agent's return.
"""

from __future__ import annotations

import asyncio
from math import ceil
from typing import Protocol

from kronforce.core.targets import AgentView
from kronforce.engine.live import LiveExecution
from kronforce.engine.resolving import Resolved
from kronforce.errors import PermissionDenied
from kronforce.v1 import agent_service_pb2 as pb

# Messages that may wait for a slow agent before its session is closed: each assignment is
# answered, so more than a few per slot means that nobody reads.
MAX_QUEUED = 100_000

# Messages in one frame, and its bytes unless a single message has more: below the 4 MiB that
# any client takes without being told to take more.
FRAME = 1024
FRAME_BYTES = 2 << 20

# A run's own deadline is the controller's to keep; an agent that hears nothing of it for so long
# ends the attempt by itself.
CUT_OFF_SECS = 5
# More than any timeout.
MAX_TIMEOUT_SECS = 2**32


class Session:
    """What the controller knows of a connected agent."""

    __slots__ = (
        "_queue", "agent_draining", "agent_id", "agent_key",
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
        self._queue: list[pb.ControllerMessage] = []

    def __gt__(self, other: Session) -> bool:
        """Whether it is to be preferred: most free slots, then least recently used."""
        return (self.free, -self.last_used) > (other.free, -other.last_used)

    @property
    def takes_work(self) -> bool:
        return not (self.draining or self.agent_draining or self.busy or self.closed)

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
        if self.closed:
            return
        if len(self._queue) >= MAX_QUEUED:
            self.close()
            return
        self._queue.append(message)
        self.wake.set()

    def assign(self, live: LiveExecution, resolved: Resolved | None = None) -> None:
        """Queue the assignment of an execution that it holds, with what its job names put in."""
        run = live.run
        message = pb.ControllerMessage()
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
        if resolved is not None:
            a.task.CopyFrom(resolved.task)
            for name, value in resolved.values:
                a.values.add(name=name, value=value)
            a.secrets.extend(resolved.secrets)
        self.send(message)

    def acknowledge(
        self, execution_id: str, fence: int, kind: pb.AcknowledgeKind.ValueType
    ) -> None:
        """Queue an acknowledgement."""
        message = pb.ControllerMessage(execution_id=execution_id, fence=fence)
        message.acknowledge.kind = kind
        self.send(message)

    async def next_frame(self) -> pb.ConnectResponse | None:
        """Wait for messages and take them; None once the session is closed."""
        while not (self._queue or self.closed):
            self.wake.clear()
            await self.wake.wait()
        if self.closed:
            return None
        count = self._frame_length()
        frame = pb.ConnectResponse()
        frame.messages.extend(self._queue[:count])
        del self._queue[:count]
        return frame

    def _frame_length(self) -> int:
        """How many of the messages that wait go into the next frame."""
        size = 0
        for count, message in enumerate(self._queue[:FRAME]):
            size += message.ByteSize()
            if size > FRAME_BYTES and count:
                return count
        return min(len(self._queue), FRAME)

    def close(self) -> None:
        """Send nothing more; whoever waits for a frame gets None."""
        self.closed = True
        self.wake.set()


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
