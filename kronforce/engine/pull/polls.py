"""Polls of custom agents: who may ask, their sessions, and what they are answered with.

An execution is answered only when its assignment and its start are stored: what the store calls
assigned was given to nobody and goes back to the queue after a crash, what it calls running may
have been given and is waited for. A caller that leaves before it was answered leaves the work to
the agent's next poll.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from kronforce.clock import Clock
from kronforce.core.pull_rules import WAIT_MAX_SECS
from kronforce.engine.agents.directory import Directory, pulls, view_of
from kronforce.engine.agents.reports import Reports
from kronforce.engine.agents.session import Session
from kronforce.engine.agents.sessions import Sessions
from kronforce.engine.completion import RETRY_SECS, Completion
from kronforce.engine.dispatcher import Dispatcher
from kronforce.engine.live import LiveExecution
from kronforce.engine.loading import Loader
from kronforce.engine.pull.callers import Caller, agent_of_caller
from kronforce.engine.pull.session import Poll, PullSession, Work
from kronforce.errors import AgentNotFound, InvalidArgument, SessionTaken
from kronforce.store.agents import AgentRow, Opening
from kronforce.store.sessions import SessionOpened, open_session
from kronforce.store.store import Store
from kronforce.store.tables import Phase

log = logging.getLogger(__name__)

# A poll that does not wait is answered with what is there to be assigned: a commit or two.
ASSIGNING_SECS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a poll is answered with."""

    agent: AgentRow
    work: Work
    # Other executions of the agent that are to end.
    cancels: list[str]


class Polls:
    """Custom agents' sessions, and the polls in them."""

    def __init__(
        self, *, store: Store, clock: Clock, directory: Directory, dispatcher: Dispatcher,
        completion: Completion, loader: Loader, sessions: Sessions, reports: Reports,
        controller: str,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._directory = directory
        self._dispatcher = dispatcher
        self._completion = completion
        self._loader = loader
        self._sessions = sessions
        self._reports = reports
        self._controller = controller
        self._opening: dict[int, asyncio.Lock] = {}

    async def pull(self, caller: Caller, ref: str, wait: int) -> Claim | None:
        """Wait for work, up to `wait` seconds. Raises AgentNotFound or SessionTaken."""
        if not 0 <= wait <= WAIT_MAX_SECS:
            raise InvalidArgument.of(("wait", f"is {wait}; from 0 to {WAIT_MAX_SECS} seconds"))
        agent = agent_of_caller(self._directory, caller, ref)
        session = await self.session_of(agent)
        poll = session.ask()
        try:
            work = await self._work_for(session, poll, wait)
            if work is None or not await self._start(work.live):
                return None
            # Where nothing is put in, nobody has looked for passwords yet.
            self._sessions.mask_again(session, work.live)
            claim = Claim(agent=agent, work=work, cancels=cancels_of(session, but=work.live))
            poll.work = None
            return claim
        finally:
            session.leave(poll)
            session.last_heard = self._clock.monotonic()

    async def _work_for(self, session: PullSession, poll: Poll, wait: int) -> Work | None:
        if poll.work is None and not session.closed:
            self._store.main.wake()
            secs = float(wait) or (ASSIGNING_SECS if self._is_work_near(session) else 0.0)
            if secs:
                await self._clock.wait(poll.event, secs)
        return poll.work

    def _is_work_near(self, session: PullSession) -> bool:
        """Whether something waits that this agent could be given now."""
        if session.has_assigned:
            return True
        return (
            session.free > 0
            and session.takes_work
            and any(
                session in route.sessions and (route.more or route.head() is not None)
                for route in self._dispatcher.routes.values()
            )
        )

    async def _start(self, live: LiveExecution) -> bool:
        """Have the start stored before anybody hears of it; False where it is ended already."""
        if live.phase == Phase.ASSIGNED:
            self._completion.accepted(live)
        while not (live.ended or live.finishing):
            error = await self._start_stored(live)
            if error is None:
                return not (live.ended or live.finishing)
            # It is staged again by then.
            await self._clock.sleep_until(self._clock.monotonic() + 2 * RETRY_SECS)
        return False

    async def _start_stored(self, live: LiveExecution) -> Exception | None:
        stored: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        def tell(error: Exception | None) -> None:
            if not stored.done():
                stored.set_result(error)

        self._completion.when_start_stored(live, tell)
        return await stored

    # Sessions.

    async def session_of(self, agent: AgentRow) -> PullSession:
        """The agent's session, opened where there is none; it has just been heard."""
        lock = self._opening.setdefault(agent.key, asyncio.Lock())
        async with lock:
            session = self._current(agent) or await self._open(agent)
        session.last_heard = self._clock.monotonic()
        return session

    def restarted(self, agent: AgentRow) -> None:
        """Its agent registered anew."""
        session = self._dispatcher.sessions.get(agent.key)
        if isinstance(session, PullSession):
            session.restart()
            self._store.main.wake()

    def _current(self, agent: AgentRow) -> PullSession | None:
        known: Session | None = self._dispatcher.sessions.get(agent.key)
        if known is None or known.closed:
            if known is not None:
                self.lose(known)
            return None
        if isinstance(known, PullSession):
            return known
        raise SessionTaken(
            f"agent {agent.name!r} holds a stream: it gets its work there; a process of its own "
            "that polls needs an agent of its own"
        )

    async def _open(self, agent: AgentRow) -> PullSession:
        if not pulls(agent):
            raise InvalidArgument.of(
                ("agent_id", f"agent {agent.name!r} is not of type custom; it gets work by Connect")
            )
        opening = Opening(
            agent_key=agent.key, boot_id="", facts=agent.facts, slots=agent.slots,
            task_types=agent.task_types,
        )  # fmt: skip
        opened = await self._store.write(
            open_session, opening, controller=self._controller, now=self._clock.now_us()
        )
        return await self._begin(opened)

    async def _begin(self, opened: SessionOpened) -> PullSession:
        lives = await self._loader.adopt(opened.held)
        await self._loader.resume_output([live for live in lives if live.output is None])
        row = self._directory.rows.get(opened.row.key)
        if row is None:
            raise AgentNotFound("the agent was removed; enrol it again")
        self._directory.put(opened.row)
        self._sessions.away.pop(row.key, None)
        session = PullSession(
            opened.row, epoch=opened.epoch, view=view_of(opened.row), now=self._clock.monotonic()
        )
        session.draining = row.draining
        for live in lives:
            self._adopt(session, live)
        self._dispatcher.add_session(session)
        log.info("custom agent %s is online", row.name,
                 extra={"action": "agent_online", "agent": row.name})  # fmt: skip
        return session

    def _adopt(self, session: PullSession, live: LiveExecution) -> None:
        if live.ended or live.finishing:
            return
        if live.phase == Phase.ASSIGNED:
            # Nobody was answered with it.
            self._reports.requeue(live)
            return
        session.adopt(live)
        self._sessions.mask_again(session, live)

    def lose(self, session: Session) -> None:
        """Nothing is heard of it, or it was closed: what it was given waits for its return."""
        if isinstance(session, PullSession):
            session.close()
            for live in session.undelivered():
                if live.phase == Phase.ASSIGNED:
                    session.drop(live)
                    self._reports.requeue(live)
        self._sessions.lost(session)


def cancels_of(session: PullSession, but: LiveExecution | None = None) -> list[str]:
    """What the agent has and is to end."""
    return [
        live.id_text
        for live in session.held.values()
        if live.cancel_reason and not live.finishing and live is not but
    ]
