"""Ending what somebody wants ended: waiting work at once, running work through its agent.

The wish is stored first, so that it survives a crash and reaches an agent that
is away when it comes back. Whoever is cancelled gets no further attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from kronforce.clock import Clock
from kronforce.core.access import Scope
from kronforce.core.cancel_words import cancel_line
from kronforce.core.ids import from_text
from kronforce.core.lifecycle import Reason, ends_as
from kronforce.engine.agents.sessions import Sessions
from kronforce.engine.audit_states import execution_resource, run_resource
from kronforce.engine.auditing import Resource, record
from kronforce.engine.completion import Completion
from kronforce.engine.live import LiveExecution, LiveRun, LiveTable
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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Wish:
    """Who wants something to end, and why. Who asked first stays on record, as in the store."""

    by: str
    reason: Reason
    message: str

    @cached_property
    def _text(self) -> str:
        return cancel_line(self.by, self.message)

    def mark(self, live: LiveExecution) -> None:
        if not live.cancel_text:
            live.cancel_reason, live.cancel_text = self.reason, self._text

    def mark_run(self, run: LiveRun) -> None:
        if not run.cancelled_by:
            run.cancelled_by, run.cancel_reason = self.by, self.reason
            run.cancel_text = self._text

    def mark_all(self, lives: Sequence[LiveExecution], *, of_runs: bool) -> None:
        for live in lives:
            self.mark(live)
            if of_runs:
                self.mark_run(live.run)

    def unmark(self, live: LiveExecution) -> None:
        if live.cancel_text is self._text:
            live.cancel_reason = Reason.RUN_TIMEOUT if live.run.overdue else ""
            live.cancel_text = ""

    def unmark_run(self, run: LiveRun) -> None:
        if run.cancel_text is self._text:
            run.cancelled_by = run.cancel_reason = run.cancel_text = ""


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
        wish = _Wish(by=author.name, reason=Reason.CANCELLED, message=reason)
        await self._cancel(lives, [], wish, audited)

    async def cancel_keys(
        self, run_keys: Sequence[int], *, by: str, reason: Reason, message: str,
        audited: Audited | None = None,
    ) -> None:  # fmt: skip
        """End runs by key; those that have ended meanwhile are left alone.

        `audited` says so in the audit log, where a principal asked for nothing but this.
        """
        wish = _Wish(by=by, reason=reason, message=message)
        for key in run_keys:
            # At once: whatever ends from now on decides on no further attempt.
            if (run := self._table.runs.get(key)) is not None:
                wish.mark_run(run)
        found = await self._loader.read(open_work.of_runs, run_keys)
        await self._cancel([live for _, live in found], run_keys, wish, audited)

    async def _cancel(
        self, lives: Sequence[LiveExecution], run_keys: Sequence[int], wish: _Wish,
        audited: Audited | None,
    ) -> None:  # fmt: skip
        wish.mark_all(lives, of_runs=bool(run_keys))
        try:
            await self._store.write(
                _request, run_keys, [live.key for live in lives], wish, self._clock.now_us(),
                audited,
            )  # fmt: skip
        except Unavailable:
            # Nothing was written, and the caller is told so.
            self._unmark(lives, run_keys, wish)
            raise
        # Again: whoever asked first may have been told that nothing was written.
        wish.mark_all(lives, of_runs=bool(run_keys))
        _after_request()
        await self.end_all(lives)

    async def end_all(self, lives: Sequence[LiveExecution]) -> None:
        """End each, now that the wish is stored: at once, or through the agent that has it."""
        await asyncio.gather(*(self._end(live) for live in lives))

    def _unmark(self, lives: Sequence[LiveExecution], run_keys: Sequence[int], wish: _Wish) -> None:
        for live in lives:
            wish.unmark(live)
        for key in run_keys:
            if (run := self._table.runs.get(key)) is not None:
                wish.unmark_run(run)

    async def _end(self, live: LiveExecution) -> None:
        if live.ended or live.finishing:
            return
        if live.phase in _WAITING and live.session is None:
            done = asyncio.Event()
            live.dones.append(done.set)
            reason = live.cancel_reason
            self._completion.never_started(live, ends_as(reason), reason, live.cancel_text)
            await done.wait()
            return
        # On its way to an agent it is told once the assignment is stored.
        self._hub.changed(live, reason=Reason.CANCELLING)
        self._sessions.send_cancel(live)


def _already(what: str) -> FailedPrecondition:
    return AlreadyTerminal(f"{what}: there is nothing to cancel")


def _request(
    tx: Tx, run_keys: Sequence[int], execution_keys: Sequence[int], wish: _Wish, now: int,
    audited: Audited | None,
) -> None:  # fmt: skip
    open_work.request_cancel(
        tx, run_keys, execution_keys, wish.by, now, reason=wish.reason, message=wish.message
    )
    if audited is not None:
        audited(tx, now)


def _record(
    author: Actor, operation: str, resource: Resource, reason: str, tx: Tx, now: int
) -> None:
    details = {"reason": reason} if reason else None
    record(tx, author, now, operation, resource, details=details)
