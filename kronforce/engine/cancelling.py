"""Ending what somebody wants ended: waiting work at once, running work through its agent.

The wish is stored first, so that it survives a crash and reaches an agent that
is away when it comes back. Whoever is cancelled gets no further attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from kronforce.clock import Clock
from kronforce.core.access import Scope
from kronforce.core.ids import from_text
from kronforce.core.lifecycle import Reason, ends_as
from kronforce.engine.agents.sessions import Sessions
from kronforce.engine.audit_states import execution_resource, run_resource
from kronforce.engine.auditing import Resource, record
from kronforce.engine.completion import Completion
from kronforce.engine.live import LiveExecution, LiveTable
from kronforce.engine.loading import Loader
from kronforce.engine.watching import Hub
from kronforce.errors import (
    AlreadyTerminal,
    ExecutionNotFound,
    FailedPrecondition,
    RunNotFound,
    Unavailable,
)
from kronforce.failpoints import failpoint
from kronforce.store import open_work
from kronforce.store.audit import Actor
from kronforce.store.database import Tx
from kronforce.store.executions import find_execution
from kronforce.store.runs import find_run
from kronforce.store.store import Store
from kronforce.store.tables import Phase

_after_request = failpoint("engine.cancel.after_request")

_WAITING = (Phase.READY, Phase.CONCURRENCY, Phase.RETRY_WAIT)


# Writes the audit entry of a cancellation, given the instant.
Audited = Callable[[Tx, int], None]


class Cancelling:
    """Cancels runs and executions."""

    def __init__(self, *, store: Store, clock: Clock, table: LiveTable, loader: Loader,
                 completion: Completion, sessions: Sessions, hub: Hub):  # fmt: skip
        self._store = store
        self._table = table
        self._clock = clock
        self._loader = loader
        self._completion = completion
        self._sessions = sessions
        self._hub = hub

    async def cancel_run(self, scope: Scope, run_id: str, author: Actor, reason: str) -> None:
        """End all of a run that has not ended. Raises NotFound, or FailedPrecondition if it has."""
        raw = from_text(run_id)
        row = None if raw is None else await self._store.read(find_run, scope, raw)
        if row is None:
            raise RunNotFound(f"no run {run_id!r}; see `kronforce run list`")
        if row.finished_at is not None:
            raise _already(f"run {run_id} has ended")
        audited = partial(_record, author, "run.cancelled", run_resource(row), reason)
        await self.cancel_keys(
            [row.key], by=author.name, reason=Reason.CANCELLED, message=reason, audited=audited
        )

    async def cancel_execution(
        self, scope: Scope, execution_id: str, author: Actor, reason: str
    ) -> None:
        """End one execution; its target is not retried."""
        raw = from_text(execution_id)
        row = None if raw is None else await self._store.read(find_execution, scope, raw)
        if row is None:
            raise ExecutionNotFound(f"no execution {execution_id!r}")
        if row.finished_at is not None:
            raise _already(f"execution {execution_id} has ended")
        found = await self._loader.read(open_work.of_runs, [row.run_key])
        lives = [live for open_row, live in found if open_row.key == row.key]
        audited = partial(_record, author, "execution.cancelled", execution_resource(row), reason)
        await self._cancel(lives, [], author.name, Reason.CANCELLED, reason, audited)

    async def cancel_keys(
        self, run_keys: Sequence[int], *, by: str, reason: Reason, message: str,
        audited: Audited | None = None,
    ) -> None:  # fmt: skip
        """End runs by key; those that have ended meanwhile are left alone.

        `audited` says so in the audit log, where a principal asked for nothing but this.
        """
        for key in run_keys:
            # At once: whatever ends from now on decides on no further attempt.
            self._mark(key, by)
        found = await self._loader.read(open_work.of_runs, run_keys)
        await self._cancel([live for _, live in found], run_keys, by, reason, message, audited)

    def _mark(self, run_key: int, by: str) -> None:
        run = self._table.runs.get(run_key)
        if run is not None:
            run.cancelled_by = run.cancelled_by or by

    async def _cancel(
        self, lives: Sequence[LiveExecution], run_keys: Sequence[int], by: str, reason: Reason,
        message: str, audited: Audited | None,
    ) -> None:  # fmt: skip
        for live in lives:
            live.cancel_reason = reason
            if run_keys:
                live.run.cancelled_by = by
        try:
            await self._store.write(
                _request, run_keys, [live.key for live in lives], by, self._clock.now_us(), audited
            )
        except Unavailable:
            # Nothing was written, and the caller is told so.
            self._unmark(lives, run_keys)
            raise
        _after_request()
        text = f"cancelled by {by}" + (f": {message}" if message else "")
        await self.end_all(lives, reason, text)

    async def end_all(self, lives: Sequence[LiveExecution], reason: Reason, text: str = "") -> None:
        """End each, now that the wish is stored: at once, or through the agent that has it."""
        await asyncio.gather(*(self._end(live, reason, text) for live in lives))

    def _unmark(self, lives: Sequence[LiveExecution], run_keys: Sequence[int]) -> None:
        for live in lives:
            live.cancel_reason = ""
        for key in run_keys:
            if (run := self._table.runs.get(key)) is not None:
                run.cancelled_by = ""

    async def _end(self, live: LiveExecution, reason: Reason, text: str) -> None:
        if live.ended or live.finishing:
            return
        if live.phase in _WAITING and live.session is None:
            done = asyncio.Event()
            live.dones.append(done.set)
            self._completion.never_started(live, ends_as(reason), reason, text)
            await done.wait()
            return
        # On its way to an agent it is told once the assignment is stored.
        self._hub.changed(live, reason=Reason.CANCELLING)
        self._sessions.send_cancel(live)


def _already(what: str) -> FailedPrecondition:
    return AlreadyTerminal(f"{what}: there is nothing to cancel")


def _request(
    tx: Tx, run_keys: Sequence[int], execution_keys: Sequence[int], by: str, now: int,
    audited: Audited | None,
) -> None:  # fmt: skip
    open_work.request_cancel(tx, run_keys, execution_keys, by, now)
    if audited is not None:
        audited(tx, now)


def _record(
    author: Actor, operation: str, resource: Resource, reason: str, tx: Tx, now: int
) -> None:
    details = {"reason": reason} if reason else None
    record(tx, author, now, operation, resource, details=details)
