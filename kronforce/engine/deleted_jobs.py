"""What waits of a deleted job ends `cancelled`, however much it is and whoever goes away meanwhile.

A job is deleted in one transaction, its waiting runs end in many. Their end belongs to the
controller, not to the call that asked for it: a caller that leaves does not stop it, and after a
restart it goes on as soon as any of them would be given to an agent.
"""

from __future__ import annotations

import asyncio

from kronforce.core.access import system_scope
from kronforce.core.lifecycle import Reason, State
from kronforce.engine.cancelling import Cancelling
from kronforce.engine.live import LiveExecution
from kronforce.engine.tasks import Tasks
from kronforce.errors import Unavailable
from kronforce.store.paging import PageRequest
from kronforce.store.runs import list_runs
from kronforce.store.store import Store

# Runs cancelled at a time: enough to share commits, few enough to leave room in them for others.
AT_ONCE = 500

NAME = "delete"
_WHY = "its job was deleted"
_EVERYTHING = system_scope("jobs")


class DeletedJobs:
    """Ends what waits of them. Once a job is deleted it makes no more runs."""

    def __init__(self, *, store: Store, cancelling: Cancelling, tasks: Tasks) -> None:
        self._store = store
        self._cancelling = cancelling
        self._tasks = tasks
        self._resumed: set[int] = set()

    async def cancel_waiting(self, job_key: int, by: str) -> int:
        """Cancel its runs that have not started; how many. Goes on where the caller does not."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            try:
                count = await self._cancel(job_key, by)
            except asyncio.CancelledError:
                if not done.done():
                    done.set_exception(Unavailable("the server stops; the job is deleted"))
                raise
            if not done.done():
                done.set_result(count)

        self._tasks.spawn_until_done(work, name="cancel-deleted")
        return await done

    def resume(self, job_key: int) -> None:
        """Something of a deleted job still waits: whoever cancelled it was stopped."""
        if job_key not in self._resumed:
            self._resumed.add(job_key)
            self._tasks.spawn_until_done(lambda: self._resume(job_key), name="cancel-deleted")

    def resume_of(self, live: LiveExecution) -> None:
        """The same, for an execution of it."""
        self.resume(live.run.job.key)

    async def _resume(self, job_key: int) -> None:
        await self._cancel(job_key, NAME)
        self._resumed.discard(job_key)

    async def _cancel(self, job_key: int, by: str) -> int:
        """Also what waits from before the job was moved: nothing of a deleted job starts."""
        cancelled = 0
        page: PageRequest | None = PageRequest(size=AT_ONCE)
        while page is not None:
            found = await self._store.read(
                list_runs, _EVERYTHING, job_key=job_key, state=State.PENDING, page=page
            )
            if found.items:
                await self._cancelling.cancel_keys(
                    [run.key for run in found.items],
                    by=by,
                    reason=Reason.CANCELLED,
                    message=_WHY,
                )
            cancelled += len(found.items)
            more = found.next_after is not None
            page = PageRequest(size=AT_ONCE, after=found.next_after) if more else None
        return cancelled
