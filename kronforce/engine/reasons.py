"""Why an execution stands where it stands, as far as only reading can tell.

Derived reasons are never stored: one agent's blink must not rewrite a million
rows. What is stored wins, except over what is plainly newer (a cancel).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kronforce.core.lifecycle import Reason
from kronforce.core.targets import can_serve, is_candidate
from kronforce.engine.agents.directory import Directory, view_of
from kronforce.engine.agents.sessions import Sessions
from kronforce.engine.dispatcher import Dispatcher, Need
from kronforce.engine.live import LiveTable
from kronforce.store.agents import AgentRow
from kronforce.store.executions import ExecutionRow
from kronforce.store.tables import Phase

_NOBODY = frozenset({Reason.LABELS, Reason.OFFLINE})


class Reasons:
    """Asks the dispatcher and the directory about what waits, the sessions about what runs."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        directory: Directory,
        table: LiveTable,
        sessions: Sessions,
    ) -> None:
        self._dispatcher = dispatcher
        self._directory = directory
        self._table = table
        self._sessions = sessions

    def of(self, row: ExecutionRow) -> str:
        """The reason to show."""
        return self._of(row, {})

    def of_each(self, rows: Sequence[ExecutionRow]) -> list[str]:
        """The same for a page; who could take a route's work is looked for once in all of it."""
        nobody: dict[int, Reason] = {}
        return [self._of(row, nobody) for row in rows]

    def _of(self, row: ExecutionRow, nobody: dict[int, Reason]) -> str:
        match row.phase:
            case Phase.READY:
                return row.state_reason or self._of_ready(row, nobody)
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

    def _of_ready(self, row: ExecutionRow, nobody: dict[int, Reason]) -> str:
        route = self._dispatcher.routes.get(row.route)
        if route is None:
            return Reason.QUEUE
        live = self._table.by_key.get(row.key)
        reason = self._dispatcher.waiting_reason(live, row.route)
        if reason in _NOBODY:
            # Nobody who is here does: is there somebody who is away, or drains?
            if row.route not in nobody:
                enrolled = self._directory.named_by(route.need.target)
                nobody[row.route] = nobody_reason(route.need, enrolled)
            return nobody[row.route]
        return reason

    def _of_running(self, row: ExecutionRow) -> str:
        live = self._table.by_key.get(row.key)
        if live is not None and live.finishing:
            return Reason.STORING_OUTPUT
        if row.agent_key is not None and not self._sessions.live(row.agent_key)[0]:
            return Reason.AGENT_UNREACHABLE
        if row.cancel_requested_at is not None or (live is not None and live.cancel_reason):
            return Reason.CANCELLING
        return row.state_reason


def nobody_reason(need: Need, enrolled: Iterable[AgentRow]) -> Reason:
    """`offline` if an enrolled agent fits, as far as is known; `labels` if none does."""
    return Reason.OFFLINE if any(_fits(need, row) for row in enrolled) else Reason.LABELS


def _fits(need: Need, row: AgentRow) -> bool:
    if need.needs_trust and row.built_in:
        return False
    view = view_of(row)
    if not row.task_types and not view.pulls:
        # It never connected: what it can run is not known yet.
        return is_candidate(need.target, need.group, view)
    return can_serve(need.target, need.task_type, need.group, view)
