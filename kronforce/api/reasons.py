"""Why an execution stands where it stands, as far as only reading can tell.

Derived reasons are never stored: one agent's blink must not rewrite a million
rows. What is stored wins, except over what is plainly newer (a cancel).
"""

from __future__ import annotations

from kronforce.api.ports import Sessions, Waiting
from kronforce.core.lifecycle import Reason
from kronforce.store.executions import ExecutionRow
from kronforce.store.tables import Phase


class Reasons:
    """Asks the dispatcher about what waits, and the sessions about what runs."""

    def __init__(self, *, waiting: Waiting, sessions: Sessions) -> None:
        self._waiting = waiting
        self._sessions = sessions

    def of(self, row: ExecutionRow) -> str:
        """The reason to show."""
        match row.phase:
            case Phase.READY:
                return row.state_reason or self._waiting.waiting_reason(row)
            case Phase.CONCURRENCY:
                return Reason.CONCURRENCY
            case Phase.RETRY_WAIT:
                return Reason.RETRY_WAIT
            case Phase.ASSIGNED:
                return Reason.ASSIGNED
            case Phase.RUNNING:
                return self._of_running(row)
            case _:
                return row.state_reason

    def _of_running(self, row: ExecutionRow) -> str:
        if row.agent_key is not None and not self._sessions.live(row.agent_key)[0]:
            return Reason.AGENT_UNREACHABLE
        return Reason.CANCELLING if row.cancel_requested_at is not None else row.state_reason
