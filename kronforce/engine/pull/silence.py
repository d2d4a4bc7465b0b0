"""Custom agents that are silent, and work that they were given and do not report.

A level-triggered loop, every second. Times are on the monotonic clock; after a restart of the
controller every term begins anew.
"""

from __future__ import annotations

import logging

from kronforce.clock import Clock, next_tick
from kronforce.core.lifecycle import Reason
from kronforce.core.pull_rules import LEASE_SECS, lost_after, silent_secs
from kronforce.engine.agents.directory import Directory, pulls
from kronforce.engine.agents.reports import Reports
from kronforce.engine.completion import Completion
from kronforce.engine.dispatcher import Dispatcher
from kronforce.engine.live import LiveExecution
from kronforce.engine.pull.calls import Calls
from kronforce.engine.pull.polls import Polls
from kronforce.engine.pull.session import PullSession
from kronforce.store.tables import Phase

log = logging.getLogger(__name__)

TICK_SECS = 1.0
# A tick that comes this much late says that the loop stood still: what has arrived meanwhile is
# read before anybody is taken for silent.
STALL_SECS = 3.0


class Silence:
    """One loop over the sessions of custom agents."""

    def __init__(
        self, *, clock: Clock, directory: Directory, dispatcher: Dispatcher,
        completion: Completion, reports: Reports, polls: Polls, calls: Calls,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._directory = directory
        self._dispatcher = dispatcher
        self._completion = completion
        self._reports = reports
        self._polls = polls
        self._calls = calls

    async def run(self) -> None:
        """The loop; ends when it is cancelled."""
        last = self._clock.monotonic()
        while True:
            await self._clock.sleep_until(next_tick(self._clock, TICK_SECS))
            now = self._clock.monotonic()
            stalled, last = now - last > STALL_SECS, now
            self._calls.forget_ended()
            for session in list(self._dispatcher.sessions.values()):
                if not isinstance(session, PullSession):
                    continue
                try:
                    self._check(session, now, stalled=stalled)
                except Exception:
                    log.exception("a custom agent could not be checked",
                                  extra={"action": "pull_check_failed"})  # fmt: skip

    def _check(self, session: PullSession, now: float, *, stalled: bool) -> None:
        if session.asks:
            session.last_heard = now
        self._give_back(session, now)
        for live in list(session.held.values()):
            if not stalled and self._is_overdue(session, live, now):
                log.warning("custom agent %s did not report an execution", session.agent_name,
                            extra={"action": "unreported", "execution": live.id_text})  # fmt: skip
                session.drop(live)
                self._completion.lost(live, Reason.AGENT_LOST)
        if session.closed or (not stalled and self._is_silent(session, now)):
            self._polls.lose(session)

    def _give_back(self, session: PullSession, now: float) -> None:
        """What nobody came for goes to whoever asks next; it certainly did not start."""
        for live in session.undelivered():
            since = live.assigned_at
            if live.phase == Phase.ASSIGNED and since is not None and now - since > LEASE_SECS:
                session.drop(live)
                self._reports.requeue(live)

    def _is_overdue(self, session: PullSession, live: LiveExecution, now: float) -> bool:
        if live.finishing or live.ended or live.phase != Phase.RUNNING:
            return False
        limit = lost_after(
            timeout_secs=live.run.job.settings.timeout_secs,
            heartbeats=session.agent_key in self._calls.beating,
            restarted=live.id_text in session.restarted,
        )
        if live.assigned_at is None:
            # Held since before this controller started.
            live.assigned_at = now
        heard = max(live.assigned_at, self._calls.talked.get(live.id_text, 0.0))
        return limit is not None and now - heard > limit

    def _is_silent(self, session: PullSession, now: float) -> bool:
        timeouts = [
            live.run.job.settings.timeout_secs
            for live in session.held.values()
            if not live.finishing
        ]
        limit = silent_secs(
            heartbeats=session.agent_key in self._calls.beating,
            longest_timeout_secs=max(timeouts, default=None),
        )
        return now - session.last_heard > limit

    def patience(self, agent_key: int, live: LiveExecution) -> float:
        """How long an agent may be away before what it has is lost."""
        settings = live.run.job.settings
        row = self._directory.rows.get(agent_key)
        if row is None or not pulls(row) or agent_key in self._calls.beating:
            return settings.lost_after_secs
        limit = lost_after(timeout_secs=settings.timeout_secs, heartbeats=False, restarted=False)
        assert limit is not None
        return limit
