"""The session of an agent that polls: the dispatcher's slots, filled by whoever waits for work.

A waiting poll is a free slot, so work is assigned only when somebody is there to be answered with
it. What was assigned and could not be answered (its caller had gone) stays here for the agent's
next poll, under the same fence. Nothing is ever sent down: what a stream would carry is asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from kronforce.core.targets import AgentView
from kronforce.engine.agents.hello import MAX_SLOTS
from kronforce.engine.agents.session import Session
from kronforce.engine.live import LiveExecution
from kronforce.engine.values.resolving import Resolved
from kronforce.store.agents import AgentRow
from kronforce.v1 import agent_service_pb2 as pb


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Work:
    """An assigned execution that nobody was answered with yet, with what its job names put in."""

    live: LiveExecution
    resolved: Resolved | None


@dataclass(kw_only=True, slots=True, eq=False)
class Poll:
    """Somebody who waits for work."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    work: Work | None = None


class PullSession(Session):
    """Belongs to one epoch of its agent, like any session."""

    pulls = True

    __slots__ = ("_occupied", "_outstanding", "_undelivered", "_waiting", "restarted")

    def __init__(self, row: AgentRow, *, epoch: int, view: AgentView, now: float) -> None:
        # Before the base's own, which counts.
        self._waiting: deque[Poll] = deque()
        self._undelivered: deque[Work] = deque()
        self._outstanding = self._occupied = 0
        super().__init__(
            agent_key=row.key, agent_id=row.id, agent_name=row.name, epoch=epoch,
            session_id="", boot_id="", slots=row.slots or MAX_SLOTS, draining=row.draining,
            view=view, now=now,
        )  # fmt: skip
        self.free = 0
        # What it was given before its agent registered anew: it may know nothing of these.
        self.restarted: set[str] = set()

    @property
    def asks(self) -> bool:
        return bool(self._waiting)

    @property
    def has_assigned(self) -> bool:
        """Whether work is on its way to those who wait."""
        return self._outstanding > 0

    def undelivered(self) -> list[LiveExecution]:
        """What was assigned and nobody was answered with."""
        return [work.live for work in self._undelivered]

    # Polls.

    def ask(self) -> Poll:
        """Wait for work."""
        poll = Poll()
        self._waiting.append(poll)
        self._hand_over()
        return poll

    def leave(self, poll: Poll) -> None:
        """Wait no more; work that was not answered is for the next."""
        if poll in self._waiting:
            self._waiting.remove(poll)
        work, poll.work = poll.work, None
        if work is not None and work.live.id_text in self.held:
            self._undelivered.appendleft(work)
            self._outstanding += 1
        self._hand_over()

    def _hand_over(self) -> None:
        while self._undelivered and self._waiting:
            poll = self._waiting.popleft()
            poll.work = self._undelivered.popleft()
            self._outstanding -= 1
            poll.event.set()
        self._recount()

    def _recount(self) -> None:
        self.free = min(len(self._waiting) - self._outstanding, self.slots - self._occupied)

    # What the dispatcher and the sessions do with it.

    def reserve(self, use: int) -> None:
        self._occupied += 1
        self._outstanding += 1
        self.last_used = use
        self._recount()

    def release(self) -> None:
        """An assignment was not stored."""
        self._occupied -= 1
        self._outstanding -= 1
        self._recount()

    def adopt(self, live: LiveExecution) -> None:
        """It had this before the session began, and was answered with it."""
        self.hold(live)
        self._occupied += 1
        self._recount()

    def assign(self, live: LiveExecution, resolved: Resolved | None = None) -> None:
        self._undelivered.append(Work(live=live, resolved=resolved))
        self._hand_over()

    def drop(self, live: LiveExecution) -> None:
        if self.held.pop(live.id_text, None) is None:
            return
        if live.id_text in self.restarted:
            self.restarted.discard(live.id_text)
        else:
            self._occupied -= 1
        if any(work.live is live for work in self._undelivered):
            self._undelivered = deque(w for w in self._undelivered if w.live is not live)
            self._outstanding -= 1
        self._recount()

    def restart(self) -> None:
        """Its agent has registered anew: what it was answered with takes no slot any more."""
        waiting = {live.id_text for live in self.undelivered()}
        gone = self.held.keys() - waiting - self.restarted
        self.restarted |= gone
        self._occupied -= len(gone)
        self._recount()

    def close(self) -> None:
        super().close()
        for poll in self._waiting:
            poll.event.set()

    def _place(self, size: int) -> pb.ControllerMessage | None:
        # There is no stream to send it on.
        return None
