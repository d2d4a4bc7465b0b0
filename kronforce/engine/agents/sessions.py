"""Agents' sessions: opening, inventory, loss of the stream; what goes down it.

A session lives in the controller that holds its stream. Taking it over raises
the agent's epoch and reads what that agent holds in the same transaction; each
of those executions is then adopted or revoked, one by one. Losing a stream
changes no execution: what the agent holds waits here for its return until
`lost_after_secs` have gone by.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from kronforce.clock import Clock
from kronforce.core.custom_tasks import own_secrets
from kronforce.core.ids import to_text
from kronforce.core.lifecycle import Reason, State
from kronforce.engine.agents.directory import Directory, view_of
from kronforce.engine.agents.hello import check_hello, highest_fence, skew_ms
from kronforce.engine.agents.leases import HEARTBEAT_SECS, LEASE_SECS, Leases, stall
from kronforce.engine.agents.openings import Openings
from kronforce.engine.agents.output_streams import OutputStreams
from kronforce.engine.agents.reconcile import Step, reconcile
from kronforce.engine.agents.reports import Reports
from kronforce.engine.agents.session import AgentPrincipal, Session, agent_of
from kronforce.engine.completion import Completion
from kronforce.engine.dispatcher import Dispatcher
from kronforce.engine.live import LiveExecution, LiveTable
from kronforce.engine.loading import Loader
from kronforce.engine.output import INITIAL_CREDIT
from kronforce.engine.tasks import Tasks
from kronforce.engine.values.masking import Masking
from kronforce.engine.values.resolving import Resolving
from kronforce.engine.watching import Hub
from kronforce.errors import (
    AgentNotFound,
    InvalidArgument,
    ProtocolViolation,
    SessionTaken,
    Unauthenticated,
)
from kronforce.failpoints import failpoint
from kronforce.store.agents import AgentRow, Opening
from kronforce.store.sessions import SessionOpened, close_session
from kronforce.store.store import Store
from kronforce.store.tables import Phase
from kronforce.v1 import agent_service_pb2 as pb

log = logging.getLogger(__name__)

# After this process stood still: agents come back within five seconds, and have to be served.
RETURN_SECS = 10.0

_on_hello = failpoint("engine.session.hello")
_before_send = failpoint("engine.session.before_send")
_after_send = failpoint("engine.session.after_send")


@dataclass(frozen=True, kw_only=True, slots=True)
class Away:
    """What an agent held when its stream ended."""

    since: float
    held: dict[str, LiveExecution]


class Sessions:
    """Every agent's session, and what agents that are away hold."""

    def __init__(
        self, *, store: Store, clock: Clock, table: LiveTable, directory: Directory,
        dispatcher: Dispatcher, completion: Completion, hub: Hub, loader: Loader,
        reports: Reports, output_streams: OutputStreams, resolving: Resolving, masking: Masking,
        tasks: Tasks, controller: str, version: str,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._table = table
        self._directory = directory
        self._dispatcher = dispatcher
        self._completion = completion
        self._hub = hub
        self._loader = loader
        self._resolving = resolving
        self._masking = masking
        self._tasks = tasks
        self._openings = Openings(store=store, clock=clock, controller=controller)
        self._version = version
        self.away: dict[int, Away] = {}
        # When it was last looked who stays away.
        self._looked = self._expire_from = clock.monotonic()
        # For how long an agent may be away before what it held is lost, seconds.
        self.patience: Callable[[int, LiveExecution], float] = _lost_after
        self._opening: set[int] = set()
        self._reports = reports
        reports.settle = self._take_step
        # Serves the agents' output streams, for whoever serves their sessions.
        self.stream_output = output_streams.stream_output
        dispatcher.assigned = self.assigned
        leases = Leases(
            sessions=dispatcher.sessions, store=store, clock=clock, tasks=tasks,
            lost=self.lost,
        )  # fmt: skip
        # Leases and answers, every second; ends when it is cancelled.
        self.run = leases.run

    # The session's stream.

    async def connect(
        self, principal: AgentPrincipal, frames: AsyncIterator[pb.ConnectRequest]
    ) -> AsyncIterator[pb.ConnectResponse]:
        """Serve one agent's session until either side ends it."""
        agent_key = agent_of(principal)
        first = await anext(aiter(frames), None)
        if first is None or not first.messages or not first.messages[0].HasField("hello"):
            raise ProtocolViolation("the first message of a session is hello")  # fmt: skip
        session = await self._open(agent_key, first.messages[0].hello)
        reader = asyncio.create_task(self._read(session, first, frames), name="session-reader")
        try:
            while (frame := await session.next_frame()) is not None:
                _before_send()
                yield frame
                _after_send()
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await reader
            self.lost(session)

    async def _read(
        self, session: Session, first: pb.ConnectRequest, frames: AsyncIterator[pb.ConnectRequest]
    ) -> None:
        try:
            for message in first.messages[1:]:
                self._receive(session, message)
            async for frame in frames:
                if session.closed:
                    return
                session.last_heard = self._clock.monotonic()
                for message in frame.messages:
                    self._receive(session, message)
        except asyncio.CancelledError:
            raise
        except InvalidArgument as error:
            log.warning("agent %s sent what is no message: %s", session.agent_name, error,
                        extra={"action": "session_unreadable"})  # fmt: skip
        except Exception:
            log.exception("a session failed", extra={"action": "session_failed",
                                                     "agent": session.agent_name})  # fmt: skip
        finally:
            session.close()

    def _receive(self, session: Session, message: pb.AgentMessage) -> None:
        if not session.closed:
            self._reports.receive(session, message)

    # Opening.

    async def _open(self, agent_key: int, hello: pb.Hello) -> Session:
        check_hello(hello)
        row = self._directory.rows.get(agent_key)
        if row is None:
            raise Unauthenticated("this agent was deleted: it enrols again with a new join token")
        if hello.agent_id not in ("", to_text(row.id)):
            raise InvalidArgument.of(("hello.agent_id", "is not the agent of this credential"))
        self._make_way(agent_key, hello.boot_id)
        self._opening.add(agent_key)
        try:
            opening = Opening(
                agent_key=agent_key, boot_id=hello.boot_id, slots=hello.slots,
                facts=hello.facts.SerializeToString(), task_types=list(hello.task_types),
                skew_ms=skew_ms(hello, self._clock.now_us()), highest_fence=highest_fence(hello),
            )  # fmt: skip
            return await self._begin(await self._openings.open(opening), hello)
        finally:
            self._opening.discard(agent_key)

    def _make_way(self, agent_key: int, boot_id: str) -> None:
        """The same boot id takes over at once; another waits for the older session's end."""
        older = self._dispatcher.sessions.get(agent_key)
        if agent_key in self._opening or (older is not None and older.boot_id != boot_id):
            raise SessionTaken(
                "another process of this agent holds its session; trying again helps "
                "when that has ended"
            )
        if older is not None:
            older.close()
            self.lost(older)

    async def _begin(self, opened: SessionOpened, hello: pb.Hello) -> Session:
        """Adopt what the agent holds, then give it work."""
        _on_hello()
        row = opened.row
        self._directory.put(row)
        lives = await self._loader.adopt(opened.held)
        await self._loader.resume_output(
            [live for live in lives if live.phase == Phase.RUNNING and live.output is None]
        )
        current = self._directory.rows.get(row.key)
        if current is None:
            raise AgentNotFound("the agent was removed")
        self.away.pop(row.key, None)
        session = Session(
            agent_key=row.key, agent_id=row.id, agent_name=row.name, epoch=opened.epoch,
            session_id=secrets.token_hex(16), boot_id=hello.boot_id, slots=hello.slots,
            draining=current.draining, now=self._clock.monotonic(),
            view=replace(view_of(current), task_types=frozenset(hello.task_types)),
            redacts=pb.AGENT_FEATURE_REDACTION in hello.features,
        )  # fmt: skip
        session.send(self._welcome(session))
        self._adopt(session, lives, hello.inventory)
        self._dispatcher.add_session(session)
        log.info("agent %s is online with %d slots", row.name, session.slots,
                 extra={"action": "agent_online", "agent": row.name})  # fmt: skip
        return session

    def _welcome(self, session: Session) -> pb.ControllerMessage:
        message = pb.ControllerMessage()
        welcome = message.welcome
        welcome.session_id, welcome.session_epoch = session.session_id, session.epoch
        welcome.heartbeat_secs, welcome.lease_secs = HEARTBEAT_SECS, LEASE_SECS
        welcome.initial_credit_bytes = INITIAL_CREDIT
        welcome.controller_version, welcome.draining = self._version, session.draining
        return message

    def _adopt(self, session: Session, lives: list[LiveExecution], inventory: pb.Inventory) -> None:
        """Each execution of either side, one by one."""
        for step, live, item in reconcile(lives, inventory.items):
            if live is not None and not live.ended and step not in (Step.REQUEUE, Step.LOST):
                if live.finishing:
                    # Its slot is free since its result came.
                    live.session = session
                else:
                    session.hold(live)
                    session.free -= 1
                if live.output is not None:
                    live.output.restart_credit()
                self.mask_again(session, live)
            self._take_step(session, step, live, item)

    def mask_again(self, session: Session, live: LiveExecution) -> None:
        """After a restart of the controller: by the values as they are now."""
        if session.redacts or live.masks is not None:
            return
        secrets = own_secrets(live.run.job.job)
        if live.run.job.template is not None:
            secrets += self._resolving.secrets_of(live.run)
        if secrets:
            self._masking.watch(live, session, secrets)

    def _take_step(
        self, session: Session, step: Step, live: LiveExecution | None,
        item: pb.InventoryItem | None,
    ) -> None:  # fmt: skip
        if step is Step.REVOKE and item is not None:
            message = pb.ControllerMessage(execution_id=item.execution_id, fence=item.fence)
            message.revoke.reason = "not this agent's any more"
            session.send(message)
            return
        if live is None or live.ended:
            return
        if step is Step.REQUEUE:
            self._reports.requeue(live)
        elif step is Step.LOST:
            live.session = session
            self._completion.lost(live, Reason.AGENT_RESTARTED)
        elif step is Step.SEND_AGAIN:
            live.assigned_at = self._clock.monotonic()
            self._send_assignment(session, live, again=True)
        else:
            session.acknowledge(live.id_text, live.fence, pb.ACKNOWLEDGE_KIND_HELD)
            if step is Step.RUNNING:
                self._completion.accepted(live)
        if live.cancel_reason and step in (Step.RUNNING, Step.SEND_AGAIN):
            self.send_cancel(live)

    # What goes down.

    def assigned(self, live: LiveExecution, session: Session) -> None:
        """An assignment is durable: send it. Its session may have gone meanwhile."""
        if session.closed and session.pulls:
            # Nobody was answered with it: it certainly did not start.
            session.release()
            self._reports.requeue(live)
            return
        if session.closed:
            session.release()
            self._hold_away(session, live)
            return
        session.hold(live)
        live.assigned_at, live.revoked = self._clock.monotonic(), False
        self._send_assignment(session, live)
        if live.cancel_reason:
            self.send_cancel(live)

    def _send_assignment(
        self, session: Session, live: LiveExecution, *, again: bool = False
    ) -> None:
        """Send the task with everything put in, or end what must not go without a value."""
        if live.run.job.template is None:
            session.assign(live)
            return
        resolved = self._resolving.resolve(live)
        live.note = resolved.note
        if not resolved.refused:
            secrets = [*resolved.secrets, *own_secrets(live.run.job.job)]
            self._masking.watch(live, session, secrets)
            session.assign(live, resolved)
            return
        if again:
            # The agent has accepted it once, and would wait for it.
            message = pb.ControllerMessage(execution_id=live.id_text, fence=live.fence)
            message.revoke.reason = "it is not to be started any more"
            session.send(message)
        session.drop(live)
        reason = Reason.START_FAILED if resolved.too_large else Reason.UNRESOLVED_VARIABLE
        self._completion.never_started(live, State.FAILED, reason, resolved.refused)

    def _hold_away(self, session: Session, live: LiveExecution) -> None:
        """Written for a session that has ended: the agent's next inventory decides."""
        live.session = None
        live.agent_key, live.agent_id = session.agent_key, session.agent_id
        live.agent_name = session.agent_name
        self.keep_away(session.agent_key, live)

    def keep_away(self, agent_key: int, live: LiveExecution) -> None:
        """An agent that has no session holds this, or may."""
        away = self.away.setdefault(agent_key, Away(since=self._clock.monotonic(), held={}))
        away.held[live.id_text] = live

    def send_cancel(self, live: LiveExecution) -> None:
        """Tell the agent, if it is here and has it; one that comes back is told then."""
        if live.session is not None and live.id_text in live.session.held:
            message = pb.ControllerMessage(execution_id=live.id_text, fence=live.fence)
            message.cancel.reason = live.cancel_reason
            live.session.send(message)

    def on_drain(self, agent_key: int, draining: bool) -> None:
        """An admin drained the agent, or lets it work again."""
        session = self._dispatcher.sessions.get(agent_key)
        if session is not None:
            session.draining = draining
            message = pb.ControllerMessage()
            message.drain.draining = draining
            session.send(message)
            self._store.main.wake()

    def on_placement(self, row: AgentRow) -> None:
        """An admin said anew what the agent is for; what it has, it keeps."""
        session = self._dispatcher.sessions.get(row.key)
        if session is not None:
            session.view = replace(view_of(row), task_types=session.view.task_types)
            self._dispatcher.rematch(session)

    def on_task_types(self, row: AgentRow) -> None:
        """An admin said anew what a custom agent can be asked for."""
        session = self._dispatcher.sessions.get(row.key)
        if session is not None:
            session.view = view_of(row)
            self._dispatcher.rematch(session)

    def close_agent(self, agent_key: int) -> None:
        """The agent was removed, or its credential revoked."""
        session = self._dispatcher.sessions.get(agent_key)
        if session is not None:
            session.close()

    def live(self, agent_key: int) -> tuple[bool, int]:
        """Whether the agent is connected, and how many executions it holds."""
        session = self._dispatcher.sessions.get(agent_key)
        if session is not None:
            return True, len(session.held)
        away = self.away.get(agent_key)
        return False, 0 if away is None else len(away.held)

    def away_secs(self, agent_key: int) -> float | None:
        """For how long an agent that holds something has been away; None: it has not."""
        away = self.away.get(agent_key)
        return None if away is None else self._clock.monotonic() - away.since

    # Loss.

    def lost(self, session: Session) -> None:
        """Nothing is heard of it any more: what it held waits for the agent's return."""
        session.close()
        if self._dispatcher.sessions.get(session.agent_key) is not session:
            return
        self._dispatcher.remove_session(session)
        held = {i: live for i, live in session.held.items() if not live.ended}
        for live in held.values():
            live.session = None
            self._hub.changed(live, reason=Reason.AGENT_UNREACHABLE)
        before = self.away.get(session.agent_key)
        if before is not None:
            # What was written for the session after it had closed.
            held = before.held | held
        self.away[session.agent_key] = Away(since=self._clock.monotonic(), held=held)
        log.info("agent %s is offline and holds %d executions", session.agent_name, len(held),
                 extra={"action": "agent_offline", "agent": session.agent_name})  # fmt: skip
        now = self._clock.now_us()
        self._tasks.spawn_until_done(
            lambda: self._store.write(close_session, session.agent_key, session.epoch, now),
            name="close-session",
        )

    def expire_away(self) -> None:
        """What agents that stay away held longer than `lost_after_secs` is lost."""
        now = self._clock.monotonic()
        stood_still, self._looked = stall(self._looked, now), now
        if stood_still:
            # Whoever came back meanwhile waits to be let in, or tries again in a moment.
            self._expire_from = now + RETURN_SECS
        if now < self._expire_from:
            return
        for agent_key, away in list(self.away.items()):
            gone = now - away.since
            for key, live in list(away.held.items()):
                if live.ended or live.finishing:
                    del away.held[key]
                elif gone > self.patience(agent_key, live):
                    del away.held[key]
                    self._completion.lost(live, Reason.AGENT_LOST)
            if not away.held:
                del self.away[agent_key]


def _lost_after(_agent_key: int, live: LiveExecution) -> float:
    return live.run.job.settings.lost_after_secs
