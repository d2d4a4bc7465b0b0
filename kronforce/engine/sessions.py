"""Agents' sessions: opening, inventory, reports, lease, loss of the stream.

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
from typing import Protocol

from kronforce.clock import Clock
from kronforce.core.ids import to_text
from kronforce.core.lifecycle import Reason, State
from kronforce.engine.completion import Completion
from kronforce.engine.directory import Directory, view_of
from kronforce.engine.dispatcher import Dispatcher
from kronforce.engine.live import LiveExecution, LiveTable
from kronforce.engine.loading import Loader
from kronforce.engine.output import INITIAL_CREDIT, OutputIntake
from kronforce.engine.reconcile import Step, held_hash, reconcile
from kronforce.engine.session import Session
from kronforce.engine.tasks import Tasks
from kronforce.engine.timers import Timers
from kronforce.engine.watching import Hub
from kronforce.errors import Aborted, FailedPrecondition, InvalidArgument, PermissionDenied
from kronforce.failpoints import failpoint
from kronforce.store.agents import touch_agents
from kronforce.store.hot import statements as st
from kronforce.store.sessions import SessionOpened, close_session, keep_evidence, open_session
from kronforce.store.store import Store
from kronforce.store.tables import Phase
from kronforce.v1 import agent_service_pb2 as pb

log = logging.getLogger(__name__)

PROTOCOL_VERSION = 1
HEARTBEAT_SECS = 10
LEASE_SECS = 30
# Neither accepted nor rejected for this long: revoke, and the answer decides.
ANSWER_SECS = 30.0
# How often leases and answers are looked at.
TICK_SECS = 1.0
# A tick that comes this much late says that the loop stood still: nobody is expired before what
# has arrived meanwhile is read.
STALL_SECS = 3.0
# How long an agent that said it is busy is left alone.
BUSY_SECS = 1.0
MAX_SLOTS = 10_000
MAX_INVENTORY = 100_000

_on_hello = failpoint("engine.session.hello")
_before_send = failpoint("engine.session.before_send")
_after_send = failpoint("engine.session.after_send")


class AgentPrincipal(Protocol):
    """Who connects; `api.call.Principal` is one."""

    @property
    def agent_key(self) -> int | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Away:
    """What an agent held when its stream ended."""

    since: float
    held: dict[str, LiveExecution]


class Sessions:
    """Every agent's session, and what agents that are away hold."""

    def __init__(
        self, *, store: Store, clock: Clock, table: LiveTable, directory: Directory,
        dispatcher: Dispatcher, completion: Completion, output: OutputIntake, hub: Hub,
        loader: Loader, timers: Timers, tasks: Tasks, controller: str, version: str,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._table = table
        self._directory = directory
        self._dispatcher = dispatcher
        self._completion = completion
        self._output = output
        self._hub = hub
        self._loader = loader
        self._timers = timers
        self._tasks = tasks
        self._controller = controller
        self._version = version
        self.away: dict[int, Away] = {}
        self._opening: set[int] = set()
        self._handlers: dict[str, Callable[[Session, pb.AgentMessage], None]] = {
            "accepted": self._accepted,
            "result": self._result,
            "heartbeat": self._heartbeat,
            "rejected": self._rejected,
            "progress": self._progress,
            "drain": self._drain,
            "inventory": self._inventory,
        }
        dispatcher.assigned = self.assigned

    # The session's stream.

    async def connect(
        self, principal: AgentPrincipal, frames: AsyncIterator[pb.ConnectRequest]
    ) -> AsyncIterator[pb.ConnectResponse]:
        """Serve one agent's session until either side ends it."""
        agent_key = _agent_of(principal)
        first = await anext(aiter(frames), None)
        if first is None or not first.messages or not first.messages[0].HasField("hello"):
            raise FailedPrecondition("the first message of a session is hello",
                                     reason="PROTOCOL_VIOLATION")  # fmt: skip
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
            self._lost_stream(session)

    async def _read(
        self, session: Session, first: pb.ConnectRequest, frames: AsyncIterator[pb.ConnectRequest]
    ) -> None:
        try:
            for message in first.messages[1:]:
                self._receive(session, message)
            async for frame in frames:
                session.last_heard = self._clock.monotonic()
                for message in frame.messages:
                    self._receive(session, message)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a session failed", extra={"action": "session_failed",
                                                     "agent": session.agent_name})  # fmt: skip
        finally:
            session.close()

    def _receive(self, session: Session, message: pb.AgentMessage) -> None:
        handler = self._handlers.get(message.WhichOneof("message") or "")
        if handler is not None and not session.closed:
            handler(session, message)

    # Opening.

    async def _open(self, agent_key: int, hello: pb.Hello) -> Session:
        _check_hello(hello)
        row = self._directory.rows.get(agent_key)
        if row is None or hello.agent_id not in ("", to_text(row.id)):
            raise InvalidArgument.of(("hello.agent_id", "is not the agent of this credential"))
        self._make_way(agent_key, hello.boot_id)
        self._opening.add(agent_key)
        try:
            opened = await self._store.write(
                open_session, agent_key=agent_key, boot_id=hello.boot_id,
                controller=self._controller, facts=hello.facts.SerializeToString(),
                slots=hello.slots, task_types=list(hello.task_types),
                skew_ms=_skew_ms(hello, self._clock.now_us()),
                highest_fence=max((i.fence for i in hello.inventory.items), default=0),
                now=self._clock.now_us(),
            )  # fmt: skip
            return await self._begin(opened, hello)
        finally:
            self._opening.discard(agent_key)

    def _make_way(self, agent_key: int, boot_id: str) -> None:
        """The same boot id takes over at once; another waits for the older session's end."""
        older = self._dispatcher.sessions.get(agent_key)
        if agent_key in self._opening or (older is not None and older.boot_id != boot_id):
            raise Aborted("another process of this agent holds its session; trying again helps "
                          "when that has ended", reason="SESSION_TAKEN")  # fmt: skip
        if older is not None:
            older.close()
            self._lost_stream(older)

    async def _begin(self, opened: SessionOpened, hello: pb.Hello) -> Session:
        """Adopt what the agent holds, then give it work."""
        _on_hello()
        row = opened.row
        self._directory.put(row)
        lives = await self._loader.adopt(opened.held)
        await self._loader.resume_output(
            [live for live in lives if live.phase == Phase.RUNNING and live.output is None]
        )
        self.away.pop(row.key, None)
        session = Session(
            agent_key=row.key, agent_id=row.id, agent_name=row.name, epoch=opened.epoch,
            session_id=secrets.token_hex(16), boot_id=hello.boot_id, slots=hello.slots,
            draining=row.draining, now=self._clock.monotonic(),
            view=replace(view_of(row), task_types=frozenset(hello.task_types)),
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
                session.hold(live)
                if not live.finishing:
                    session.free -= 1
            self._take_step(session, step, live, item)

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
            self._requeue(live)
        elif step is Step.LOST:
            live.session = session
            self._completion.lost(live, Reason.AGENT_RESTARTED)
        elif step is Step.SEND_AGAIN:
            live.assigned_at = self._clock.monotonic()
            session.assign(live)
        else:
            session.acknowledge(live.id_text, live.fence, pb.ACKNOWLEDGE_KIND_HELD)
            if step is Step.RUNNING:
                self._completion.accepted(live)
        if live.cancel_reason and step in (Step.RUNNING, Step.SEND_AGAIN):
            self.send_cancel(live)

    # What goes down.

    def assigned(self, live: LiveExecution, session: Session) -> None:
        """An assignment is durable: send it. Its session may have gone meanwhile."""
        if session.closed:
            session.release()
            self._hold_away(session, live)
            return
        session.hold(live)
        live.assigned_at = self._clock.monotonic()
        session.assign(live)
        if live.cancel_reason:
            self.send_cancel(live)

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
        """Tell the agent, if it is here; one that comes back is told then."""
        if live.session is not None and not live.session.closed:
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

    # What comes up.

    def _mine(self, session: Session, message: pb.AgentMessage) -> LiveExecution | None:
        """The execution that a report is about, if it is this agent's under this fence."""
        live = self._table.by_id.get(message.execution_id)
        if live is None or live.fence != message.fence or live.agent_key != session.agent_key:
            return None
        return live

    def _accepted(self, session: Session, message: pb.AgentMessage) -> None:
        live = self._mine(session, message)
        if live is not None:
            self._completion.accepted(live)

    def _result(self, session: Session, message: pb.AgentMessage) -> None:
        execution_id, fence = message.execution_id, message.fence
        live = self._mine(session, message)
        if live is None:
            self._stale(session, message)
            return
        agent_key = session.agent_key

        def done() -> None:
            current = self._dispatcher.sessions.get(agent_key)
            if current is not None:
                current.acknowledge(execution_id, fence, pb.ACKNOWLEDGE_KIND_RESULT)

        self._completion.result(live, message.result, done)
        self._store.main.wake()

    def _stale(self, session: Session, message: pb.AgentMessage) -> None:
        """Late or repeated: kept as evidence unless it is known already, and acknowledged."""
        report = message.SerializeToString()
        self._tasks.spawn(
            self._store_stale(session, message.execution_id, message.fence, report), name="evidence"
        )

    async def _store_stale(
        self, session: Session, execution_id: str, fence: int, report: bytes
    ) -> None:
        await self._store.write(keep_evidence, execution_id, fence, report, self._clock.now_us())
        session.acknowledge(execution_id, fence, pb.ACKNOWLEDGE_KIND_RESULT)

    def _rejected(self, session: Session, message: pb.AgentMessage) -> None:
        live = self._mine(session, message)
        if live is None or live.finishing:
            return
        rejected = message.rejected
        session.drop(live)
        if live.cancel_reason:
            self._completion.never_started(live, State.CANCELLED, live.cancel_reason, "")
        elif rejected.reason in (pb.REJECT_REASON_BUSY, pb.REJECT_REASON_REVOKED):
            if rejected.reason == pb.REJECT_REASON_BUSY:
                self._leave_alone(session)
            self._requeue(live)
        else:
            text = rejected.message or "the agent cannot run this task"
            self._completion.never_started(live, State.FAILED, Reason.UNSUPPORTED, text)

    def _leave_alone(self, session: Session) -> None:
        """It has less room than we thought: offer it nothing for a moment."""
        if session.agent_draining:
            return
        session.agent_draining = True

        def again() -> None:
            session.agent_draining = False
            self._store.main.wake()

        self._timers.after(BUSY_SECS, again)

    def _requeue(self, live: LiveExecution) -> None:
        """It certainly did not start: it may go to any agent, under a new fence."""
        fence = live.fence
        live.session = None
        self._tasks.spawn(self._unassign(live, fence), name="requeue")

    async def _unassign(self, live: LiveExecution, fence: int) -> None:
        changed = await self._store.write(lambda tx: tx.run(st.UNASSIGN, [(live.key, fence)]))
        if changed and not live.ended and not live.finishing:
            live.phase, live.agent_key, live.agent_id = Phase.READY, None, None
            live.agent_name, live.assigned_at = "", None
            self._dispatcher.offer(live)

    def _progress(self, session: Session, message: pb.AgentMessage) -> None:
        live = self._mine(session, message)
        if live is not None:
            self._hub.progress(live, message.progress)

    def _drain(self, session: Session, message: pb.AgentMessage) -> None:
        session.agent_draining = message.drain.draining
        self._store.main.wake()

    def _heartbeat(self, session: Session, message: pb.AgentMessage) -> None:
        beat = message.heartbeat
        if (beat.held_count, beat.held_hash) == held_hash(self._held_by(session)):
            session.mismatches = 0
            return
        session.mismatches += 1
        if session.mismatches >= 2:
            session.mismatches = 0
            session.asked = frozenset(
                i for i, live in session.held.items() if live.phase == Phase.RUNNING
            )
            request = pb.ControllerMessage()
            request.inventory_request.SetInParent()
            session.send(request)

    def _held_by(self, session: Session) -> list[LiveExecution]:
        return [
            live for live in self._table.by_id.values() if live.session is session and live.fence
        ]

    def _inventory(self, session: Session, message: pb.AgentMessage) -> None:
        """The answer to a mismatch: what either side does not know of is settled."""
        asked = [live for i in session.asked if (live := session.held.get(i)) is not None]
        session.asked = frozenset()
        others = {i: live for i, live in session.held.items() if live not in asked}
        for step, live, item in reconcile(asked, message.inventory.items):
            known = item is not None and item.execution_id in others
            if (step is Step.LOST and live is not None and not live.finishing) or (
                step is Step.REVOKE and not known and not self._awaits(item)
            ):
                if live is not None:
                    session.drop(live)
                self._take_step(session, step, live, item)

    def _awaits(self, item: pb.InventoryItem | None) -> bool:
        """Whether an end of it is being stored just now."""
        return item is not None and item.execution_id in self._table.by_id

    # Lease and loss.

    def _lost_stream(self, session: Session) -> None:
        """The stream has ended: what it held waits for the agent's return."""
        session.close()
        if self._dispatcher.sessions.get(session.agent_key) is not session:
            return
        self._dispatcher.remove_session(session)
        held = {i: live for i, live in session.held.items() if not live.ended}
        for live in held.values():
            live.session = None
            self._hub.changed(live, reason=Reason.AGENT_UNREACHABLE)
        self.away[session.agent_key] = Away(since=self._clock.monotonic(), held=held)
        log.info("agent %s is offline and holds %d executions", session.agent_name, len(held),
                 extra={"action": "agent_offline", "agent": session.agent_name})  # fmt: skip
        self._tasks.spawn(
            self._store.write(close_session, session.agent_key, session.epoch,
                              self._clock.now_us()),
            name="close-session",
        )  # fmt: skip

    async def run(self) -> None:
        """Leases and answers, every second; ends when it is cancelled."""
        last = self._clock.monotonic()
        beat = 0.0
        while True:
            await self._clock.sleep_until(last + TICK_SECS)
            now = self._clock.monotonic()
            stalled, last = now - last > STALL_SECS, now
            for session in list(self._dispatcher.sessions.values()):
                if not stalled and now - session.last_heard > LEASE_SECS:
                    log.warning("agent %s was silent for %d s", session.agent_name, LEASE_SECS,
                                extra={"action": "lease_ended"})  # fmt: skip
                    session.close()
                    self._lost_stream(session)
                else:
                    self._check_answers(session, now)
            if now - beat >= HEARTBEAT_SECS:
                beat = now
                self._beat()
                self._note_last_seen()

    def _beat(self) -> None:
        message = pb.ControllerMessage()
        message.heartbeat.SetInParent()
        for session in self._dispatcher.sessions.values():
            session.send(message)

    def _note_last_seen(self) -> None:
        """For people who look at the list: to within a heartbeat or two."""
        now, ahead = self._clock.now_us(), self._clock.monotonic()
        heard = [
            (session.agent_key, now - int((ahead - session.last_heard) * 1_000_000))
            for session in self._dispatcher.sessions.values()
        ]
        if heard:
            self._tasks.spawn(self._store.write(touch_agents, heard), name="last-seen")

    def _check_answers(self, session: Session, now: float) -> None:
        for live in list(session.held.values()):
            if live.phase != Phase.ASSIGNED or live.assigned_at is None or live.finishing:
                continue
            silent = now - live.assigned_at
            if silent > 2 * ANSWER_SECS:
                session.close()
                return
            if silent > ANSWER_SECS and not live.revoked:
                live.revoked = True
                message = pb.ControllerMessage(execution_id=live.id_text, fence=live.fence)
                message.revoke.reason = "neither accepted nor rejected"
                session.send(message)

    def expire_away(self) -> None:
        """What agents that stay away held longer than `lost_after_secs` is lost."""
        now = self._clock.monotonic()
        for agent_key, away in list(self.away.items()):
            gone = now - away.since
            for key, live in list(away.held.items()):
                if live.ended or live.finishing:
                    del away.held[key]
                elif gone > live.run.job.settings.lost_after_secs:
                    del away.held[key]
                    self._completion.lost(live, Reason.AGENT_LOST)
            if not away.held:
                del self.away[agent_key]

    # Output.

    async def stream_output(
        self, principal: AgentPrincipal, frames: AsyncIterator[pb.StreamOutputRequest]
    ) -> AsyncIterator[pb.StreamOutputResponse]:
        """Take one agent's output until its session or its stream ends."""
        agent_key = _agent_of(principal)
        first = await anext(aiter(frames), None)
        session = self._dispatcher.sessions.get(agent_key)
        if first is None or session is None or first.session_id != session.session_id:
            raise FailedPrecondition("open the output stream with the session id of welcome",
                                     reason="PROTOCOL_VIOLATION")  # fmt: skip
        replies = _Replies()
        reader = asyncio.create_task(
            self._read_output(session, first, frames, replies), name="output-reader"
        )
        try:
            while (frame := await replies.next_frame()) is not None:
                yield frame
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await reader

    async def _read_output(
        self, session: Session, first: pb.StreamOutputRequest,
        frames: AsyncIterator[pb.StreamOutputRequest], replies: _Replies,
    ) -> None:  # fmt: skip
        try:
            for output in first.outputs:
                self._output.receive(session.agent_key, output, replies.put)
            async for frame in frames:
                if session.closed:
                    break
                session.last_heard = self._clock.monotonic()
                for output in frame.outputs:
                    self._output.receive(session.agent_key, output, replies.put)
        finally:
            replies.close()


class _Replies:
    """Acknowledgements and credit for one output stream, merged until they are sent."""

    def __init__(self) -> None:
        self._by_id: dict[str, pb.OutputProgress] = {}
        self._wake = asyncio.Event()
        self._closed = False

    def put(self, progress: pb.OutputProgress) -> None:
        known = self._by_id.get(progress.execution_id)
        if known is not None:
            progress.credit_bytes += known.credit_bytes
        self._by_id[progress.execution_id] = progress
        self._wake.set()

    async def next_frame(self) -> pb.StreamOutputResponse | None:
        while not self._by_id:
            if self._closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        frame = pb.StreamOutputResponse(progress=self._by_id.values())
        self._by_id = {}
        return frame

    def close(self) -> None:
        self._closed = True
        self._wake.set()


def _agent_of(principal: AgentPrincipal) -> int:
    if principal.agent_key is None:
        raise PermissionDenied("sessions need an agent's own credential; enrol with RegisterAgent",
                               reason="ROLE_FORBIDS")  # fmt: skip
    return principal.agent_key


def _skew_ms(hello: pb.Hello, now_us: int) -> int:
    return (hello.now.ToMicroseconds() - now_us) // 1000 if hello.HasField("now") else 0


def _check_hello(hello: pb.Hello) -> None:
    if hello.protocol_version != PROTOCOL_VERSION:
        raise FailedPrecondition(
            f"this server speaks agent protocol {PROTOCOL_VERSION}, the agent "
            f"{hello.protocol_version}: use an agent of the server's version",
            reason="PROTOCOL_VERSION",
        )
    violations = []
    if not 16 <= len(hello.boot_id) <= 64:
        violations.append(("hello.boot_id", "16 to 64 characters"))
    if not 1 <= hello.slots <= MAX_SLOTS:
        violations.append(("hello.slots", f"1 to {MAX_SLOTS}"))
    if len(hello.inventory.items) > MAX_INVENTORY:
        violations.append(("hello.inventory", f"at most {MAX_INVENTORY} items"))
    if violations:
        raise InvalidArgument.of(*violations)
