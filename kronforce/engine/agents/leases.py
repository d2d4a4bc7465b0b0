"""Whether connected agents are still there: heartbeats, leases, unanswered assignments."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kronforce.clock import Clock, next_tick
from kronforce.engine.agents.session import Session
from kronforce.engine.tasks import Tasks
from kronforce.store.agents import touch_agents
from kronforce.store.store import Store
from kronforce.store.tables import Phase
from kronforce.v1 import agent_service_pb2 as pb

log = logging.getLogger(__name__)

_HEARTBEAT = pb.ControllerMessage(heartbeat=pb.ControllerHeartbeat())

# Each second a part of the agents hears from here, and answers: wake-ups are shared by the part,
# and there is no second in which all of them talk.
HEARTBEAT_SECS = 10
LEASE_SECS = 30
# Neither accepted nor rejected for this long: revoke, and the answer decides.
ANSWER_SECS = 30.0
# How often leases and answers are looked at.
TICK_SECS = 1.0
# A tick that comes this much late says that the loop stood still: nobody is expired before what
# has arrived meanwhile is read, and the time counts against nobody.
STALL_SECS = 3.0
# How often it is stored when agents were last heard: a commit for all of them, to within half a
# minute with the heartbeat before it.
NOTE_SECS = 20.0


class Leases:
    """One loop over this controller's sessions; `lost` is called with one whose lease ended."""

    def __init__(
        self, *, sessions: dict[int, Session], store: Store, clock: Clock, tasks: Tasks,
        lost: Callable[[Session], None],
    ) -> None:  # fmt: skip
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._lost = lost

    async def run(self) -> None:
        """Leases and answers, every second; ends when it is cancelled."""
        last, noted = self._clock.monotonic(), 0.0
        while True:
            await self._clock.sleep_until(next_tick(self._clock, TICK_SECS))
            now = self._clock.monotonic()
            before, last = last, now
            stood_still = stall(before, now)
            for session in self._to_check(now):
                try:
                    self._check_session(session, now, stood_still)
                except Exception:
                    log.exception("a session could not be checked",
                                  extra={"action": "session_check_failed"})  # fmt: skip
            self._beat(before, now)
            if now - noted >= NOTE_SECS:
                noted = now
                self._note_last_seen()

    def _to_check(self, now: float) -> list[Session]:
        """Those that something may be wrong with; of idle agents almost none, every second.

        The silence of agents that poll means something else: `engine/pull`.
        """
        alive = now - LEASE_SECS
        return [
            session for session in self._sessions.values()
            if (session.held or session.closed or session.last_heard < alive) and not session.pulls
        ]  # fmt: skip

    def _check_session(self, session: Session, now: float, stood_still: float) -> None:
        if not stood_still and now - session.last_heard > LEASE_SECS:
            log.warning("agent %s was silent for %d s", session.agent_name, LEASE_SECS,
                        extra={"action": "lease_ended"})  # fmt: skip
            session.close()
        self._check_answers(session, now, stood_still)
        if session.closed:
            # Its stream may hang for long yet, in the middle of a write.
            self._lost(session)

    def _beat(self, since: float, now: float) -> None:
        """To the parts whose second has come since; to all of them after a stall of ten."""
        seconds = range(int(since) + 1, int(now) + 1)[:HEARTBEAT_SECS]
        due = {second % HEARTBEAT_SECS for second in seconds}
        for session in self._sessions.values():
            if session.agent_key % HEARTBEAT_SECS in due and not session.pulls:
                session.send(_HEARTBEAT)

    def _note_last_seen(self) -> None:
        """For people who look at the list."""
        now, ahead = self._clock.now_us(), self._clock.monotonic()
        heard = [
            (session.agent_key, now - int((ahead - session.last_heard) * 1_000_000))
            for session in self._sessions.values()
        ]
        if heard:
            self._tasks.spawn(self._store.write(touch_agents, heard), name="last-seen")

    def _check_answers(self, session: Session, now: float, stood_still: float) -> None:
        for live in list(session.held.values()):
            if live.phase != Phase.ASSIGNED or live.assigned_at is None or live.finishing:
                continue
            # Its answer may be among what was not read.
            live.assigned_at += stood_still
            silent = now - live.assigned_at
            if silent > 2 * ANSWER_SECS:
                session.close()
                return
            if silent > ANSWER_SECS and not live.revoked:
                live.revoked = True
                message = pb.ControllerMessage(execution_id=live.id_text, fence=live.fence)
                message.revoke.reason = "neither accepted nor rejected"
                session.send(message)


def stall(last: float, now: float) -> float:
    """For how long a loop that ticks every TICK_SECS stood still since its last tick; 0: it came in
    time, or nearly."""
    late = now - last - TICK_SECS
    return late if late > STALL_SECS - TICK_SECS else 0.0
