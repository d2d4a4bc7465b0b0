"""What agents report, message by message: each is held against the execution's current fence.

A report under another fence changes nothing: it is kept as evidence and
acknowledged, so that the agent forgets it. What certainly did not start goes
back to the queue; a result is acknowledged when it is stored, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kronforce.clock import Clock
from kronforce.core.lifecycle import Reason, State, ends_as
from kronforce.engine.agents.reconcile import Step, held_hash, reconcile
from kronforce.engine.agents.session import Session
from kronforce.engine.completion import Completion
from kronforce.engine.dispatcher import Dispatcher
from kronforce.engine.live import LiveExecution, LiveTable
from kronforce.engine.tasks import Tasks
from kronforce.engine.timers import Timers
from kronforce.engine.watching import Hub
from kronforce.errors import NotFound
from kronforce.store.hot import statements as st
from kronforce.store.sessions import keep_evidence
from kronforce.store.store import Store
from kronforce.store.tables import Phase
from kronforce.v1 import agent_service_pb2 as pb

# How long an agent that said it is busy is left alone.
BUSY_SECS = 1.0
# Stale reports of one session that are on their way to the store: more than an honest agent has.
MAX_STALE = 10_000

# Nothing is wrong with the task: another moment or another agent will do.
_COMES_AGAIN = frozenset({pb.REJECT_REASON_BUSY, pb.REJECT_REASON_REVOKED})

Settle = Callable[[Session, Step, LiveExecution | None, pb.InventoryItem | None], None]


class Reports:
    """Takes every message that comes up a session's stream after its hello."""

    def __init__(
        self, *, store: Store, clock: Clock, table: LiveTable, dispatcher: Dispatcher,
        completion: Completion, hub: Hub, timers: Timers, tasks: Tasks,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._table = table
        self._dispatcher = dispatcher
        self._completion = completion
        self._hub = hub
        self._timers = timers
        self._tasks = tasks
        # What sessions do about one execution of an inventory.
        self.settle: Settle = _no_step
        self._handlers: dict[str, Callable[[Session, pb.AgentMessage], None]] = {
            "accepted": self._accepted,
            "result": self._result,
            "heartbeat": self._heartbeat,
            "rejected": self._rejected,
            "progress": self._progress,
            "drain": self._drain,
            "inventory": self._inventory,
        }

    def receive(self, session: Session, message: pb.AgentMessage) -> None:
        """Take one message; arms that this version does not know are ignored."""
        handler = self._handlers.get(message.WhichOneof("message") or "")
        if handler is not None:
            handler(session, message)

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
        """Late or repeated: kept as evidence unless it is known already, and acknowledged.

        Beyond the limit neither: whoever reports so much comes again.
        """
        if session.stale_reports >= MAX_STALE:
            return
        session.stale_reports += 1
        report = message.SerializeToString()
        self._tasks.spawn(
            self._store_stale(session, message.execution_id, message.fence, report), name="evidence"
        )

    async def _store_stale(
        self, session: Session, execution_id: str, fence: int, report: bytes
    ) -> None:
        try:
            await self._store.write(
                keep_evidence, execution_id, fence, report, self._clock.now_us()
            )
        except NotFound:
            # No id at all: nothing to keep, and nothing that the agent should keep either.
            pass
        finally:
            session.stale_reports -= 1
        session.acknowledge(execution_id, fence, pb.ACKNOWLEDGE_KIND_RESULT)

    def _rejected(self, session: Session, message: pb.AgentMessage) -> None:
        live = self._mine(session, message)
        if live is None or live.finishing:
            return
        rejected = message.rejected
        session.drop(live)
        if live.cancel_reason:
            state = ends_as(live.cancel_reason)
            self._completion.never_started(live, state, live.cancel_reason, live.cancel_text)
        elif rejected.reason in _COMES_AGAIN and live.phase == Phase.RUNNING:
            # Accepted before: it is never offered elsewhere, a redelivery is a new execution.
            self._completion.lost(live, Reason.AGENT_LOST)
        elif rejected.reason in _COMES_AGAIN:
            if rejected.reason == pb.REJECT_REASON_BUSY:
                self._leave_alone(session)
            self.requeue(live)
        else:
            text = rejected.message or "the agent cannot run this task"
            self._completion.never_started(live, State.FAILED, Reason.UNSUPPORTED, text)

    def _leave_alone(self, session: Session) -> None:
        """It has less room than we thought: offer it nothing for a moment."""
        if session.busy:
            return
        session.busy = True

        def again() -> None:
            session.busy = False
            self._store.main.wake()

        self._timers.after(BUSY_SECS, again)

    def requeue(self, live: LiveExecution) -> None:
        """It certainly did not start: it may go to any agent, under a new fence."""
        fence = live.fence
        live.session = None
        self._tasks.spawn_until_done(lambda: self._unassign(live, fence), name="requeue")

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
        if self._agrees(session, message.heartbeat):
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

    def _agrees(self, session: Session, beat: pb.AgentHeartbeat) -> bool:
        """Whether both sides mean the same; the long way only where the short one says no.

        The agent still holds what has ended until it is told that the end is stored.
        """
        said = beat.held_count, beat.held_hash
        return any(said == held_hash(held(session)) for held in (_in_slots, self._held_by))

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
                self.settle(session, step, live, item)

    def _awaits(self, item: pb.InventoryItem | None) -> bool:
        """Whether an end of it is being stored just now."""
        return item is not None and item.execution_id in self._table.by_id


def _in_slots(session: Session) -> Iterable[LiveExecution]:
    return session.held.values()


def _no_step(
    _session: Session, _step: Step, _live: LiveExecution | None, _item: pb.InventoryItem | None
) -> None:
    return None
