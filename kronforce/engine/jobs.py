"""The use cases of jobs: create, change, pause, resume, delete.

Each is one transaction (`job_changes.py`); what memory holds of a job is told
after the commit. Checks that need no store come first, so that a batch never
waits for a definition that is wrong in itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from google.protobuf.json_format import MessageToDict

from kronforce.clock import Clock
from kronforce.core import ids
from kronforce.core.access import Role, Scope
from kronforce.core.canonical import canonical_hash
from kronforce.core.ids import IdSource
from kronforce.core.job_mask import read_mask
from kronforce.core.job_rules import normalise_job, validate_job
from kronforce.core.job_settings import effective
from kronforce.core.schedules.window import JobStatus
from kronforce.engine import job_changes
from kronforce.engine.deleted_jobs import DeletedJobs
from kronforce.engine.first_run import create_with_run
from kronforce.engine.job_changes import Change, RequestClaim
from kronforce.engine.scheduler import Scheduler
from kronforce.engine.snapshots import JobSnapshot, JobSnapshots
from kronforce.engine.triggering import Triggering
from kronforce.errors import (
    InvalidArgument,
    KronforceError,
    OutsideWindow,
)
from kronforce.store.audit import KeyedActor
from kronforce.store.jobs import JobRow, last_runs
from kronforce.store.store import Store
from kronforce.store.trial import tried
from kronforce.v1.job_pb2 import Job
from kronforce.v1.job_service_pb2 import TriggerJobRequest

REQUEST_ID_MAX = 100

# Ids of requests to create share a table with those to trigger, and must never meet them.
_SPACE = "\x1fjobs:"


class Jobs:
    """Every change that a caller can make to jobs."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        new_id: IdSource,
        scheduler: Scheduler,
        snapshots: JobSnapshots,
        triggering: Triggering,
        deleted_jobs: DeletedJobs,
        trust_operators: bool,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._scheduler = scheduler
        self._snapshots = snapshots
        self._triggering = triggering
        self._deleted_jobs = deleted_jobs
        self._trust_operators = trust_operators

    async def create(
        self, scope: Scope, author: KeyedActor, job: Job, *, request_id: str, immediate: bool
    ) -> tuple[JobRow, bool]:
        """Make a job and, with `immediate`, trigger it once, also when the request is repeated.

        With it, whether it may have run by now.
        """
        _check_definition(job, self._clock.now())
        if immediate:
            self._check_window(job)
            return await self._create_with_run(scope, author, job, request_id), True
        row, replayed = await self._store.write(
            job_changes.create_job,
            self._change(scope, author),
            job_id=self._new_id(),
            job=job,
            claim=_claim(job, request_id, immediate),
            triggered=False,
        )
        if not replayed:
            self._scheduler.changed(row)
        return row, replayed

    async def check_new(
        self, scope: Scope, author: KeyedActor, job: Job, *, immediate: bool
    ) -> JobRow:
        """What `create` would make; raises what would refuse it, and makes nothing."""
        _check_definition(job, self._clock.now())
        if immediate:
            self._check_window(job)
        row, _ = await self._store.write(
            tried,
            job_changes.create_job,
            self._change(scope, author),
            job_id=self._new_id(),
            job=job,
            claim=None,
            triggered=immediate,
        )
        return row

    async def check_change(
        self, scope: Scope, author: KeyedActor, ref: str, job: Job, paths: Sequence[str]
    ) -> JobRow:
        """What `update` would make of it; raises what would refuse it, and changes nothing."""
        mask = _read_paths(paths)
        change = self._change(scope, author)
        row, _ = await self._store.write(
            tried, job_changes.update_job, change, ref=ref, job=job, mask=mask
        )
        return row

    async def update(
        self, scope: Scope, author: KeyedActor, ref: str, job: Job, paths: Sequence[str]
    ) -> JobRow:
        """Make the next version; without a mask the whole definition is new."""
        return await self._changed(
            job_changes.update_job,
            self._change(scope, author),
            ref=ref,
            job=job,
            mask=_read_paths(paths),
        )

    def warnings_about(self, row: JobRow) -> list[str]:
        """What is taken, and yet not what its author may expect."""
        return self._triggering.unresolved(JobSnapshot(row))

    async def pause(self, scope: Scope, author: KeyedActor, ref: str, until: int | None) -> JobRow:
        """Hold the schedule, for good or until an instant."""
        if until is not None and until <= self._clock.now_us():
            raise InvalidArgument.of(
                ("until", "is in the past; name a later instant, or leave it out to hold for good")
            )
        return await self._changed(
            job_changes.pause_job, self._change(scope, author), ref=ref, until=until
        )

    async def resume(self, scope: Scope, author: KeyedActor, ref: str) -> JobRow:
        """Let the schedule fire again, from now on."""
        return await self._changed(job_changes.resume_job, self._change(scope, author), ref=ref)

    async def delete(self, scope: Scope, author: KeyedActor, ref: str, etag: str) -> int:
        """Delete the job; how many waiting runs were cancelled with it."""
        row = await self._store.write(
            job_changes.delete_job, self._change(scope, author), ref=ref, etag=etag
        )
        self._tell(row)
        return await self._deleted_jobs.cancel_waiting(row.key, author.name)

    async def _changed(
        self, fn: Callable[..., tuple[JobRow, bool]], *args: Any, **kw: Any
    ) -> JobRow:
        row, changed = await self._store.write(fn, *args, **kw)
        if changed:
            self._tell(row)
        return row

    def _tell(self, row: JobRow) -> None:
        self._snapshots.forget(row.key)
        self._scheduler.changed(row)

    def _change(self, scope: Scope, author: KeyedActor) -> Change:
        return Change(
            scope=scope,
            author=author,
            trusted=self._trust_operators or scope.role is Role.ADMIN,
            now=self._clock.now_us(),
        )

    def _check_window(self, job: Job) -> None:
        gate = effective(job).gate(status=JobStatus.SCHEDULED, paused_until=None)
        if not gate.in_window(self._clock.now()):
            raise OutsideWindow(
                "the job's window (starts_at … expires_at) is not open now; create it without "
                "immediate, then trigger it with force"
            )

    async def _create_with_run(
        self, scope: Scope, author: KeyedActor, job: Job, request_id: str
    ) -> JobRow:
        row, replayed, fired = await create_with_run(
            self._store,
            self._triggering,
            self._change(scope, author),
            job_id=self._new_id(),
            job=job,
            claim=_claim(job, request_id, immediate=True),
        )
        if not replayed:
            self._scheduler.changed(row)
        if not fired and not await self._has_run(row):
            # The batch was split between the two, and the run did not come through.
            await self._trigger_once(scope, author, row)
        return row

    async def _has_run(self, row: JobRow) -> bool:
        return row.key in await self._store.read(last_runs, [row.key])

    async def _trigger_once(self, scope: Scope, author: KeyedActor, row: JobRow) -> None:
        job_id = ids.to_text(row.id)
        # The same for each repetition of the request: one run, however often it is sent.
        request = TriggerJobRequest(job_id=job_id, request_id=f"immediate:{job_id}")
        [result] = await self._triggering.trigger(scope, author, [request])
        if isinstance(result, KronforceError):
            # An interval was to count from this run's end.
            await self._changed(job_changes.replan_job, self._change(scope, author), ref=job_id)
            raise result


def _read_paths(paths: Sequence[str]) -> Sequence[str]:
    mask = read_mask(paths)
    if paths and not mask and "*" not in paths:
        # Only output-only fields were named, which are ignored.
        return ("etag",)
    return mask


def _check_definition(job: Job, now: datetime) -> None:
    if problems := validate_job(normalise_job(job), now):
        raise InvalidArgument.of(*problems)


def _claim(job: Job, request_id: str, immediate: bool) -> RequestClaim | None:
    if not request_id:
        return None
    if len(request_id) > REQUEST_ID_MAX or not request_id.isprintable():
        raise InvalidArgument.of(
            ("request_id", f"must be at most {REQUEST_ID_MAX} printable characters, e.g. a UUID")
        )
    definition = MessageToDict(normalise_job(job), preserving_proto_field_name=True)
    content = {"job": definition, "status": int(job.status), "immediate": immediate}
    return RequestClaim(request_id=_SPACE + request_id, hash=canonical_hash(content))
