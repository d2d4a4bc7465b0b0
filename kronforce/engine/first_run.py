"""A job that is triggered as it is made: both in one transaction.

The run is prepared for a job whose row does not exist yet, and staged in the
same turn of the loop as the job. Within a batch plain functions run before new
runs are looked at, so the run finds the row, or, where the job was refused or
the request repeated, finds none and is not made.
"""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.struct_pb2 import Struct

from kronforce.core.job_rules import normalise_job
from kronforce.core.job_settings import effective
from kronforce.core.schedules.window import JobStatus
from kronforce.engine import job_changes
from kronforce.engine.job_changes import Change, RequestClaim
from kronforce.engine.snapshots import JobSnapshot
from kronforce.engine.triggering import Triggering, trigger_of
from kronforce.store.database import Tx
from kronforce.store.hot.commands import Call, Created, CreateRun
from kronforce.store.jobs import JobRow
from kronforce.store.store import Store
from kronforce.v1.job_pb2 import Job

_MADE = frozenset({Created.CREATED, Created.WAITING, Created.SKIPPED})

# Of a row that does not exist: nothing in the store has it.
_NO_KEY = 0


async def create_with_run(
    store: Store,
    triggering: Triggering,
    change: Change,
    *,
    job_id: bytes,
    job: Job,
    claim: RequestClaim | None,
) -> tuple[JobRow, bool, bool]:
    """Make a job and its first run: the job, whether it was there before, whether a run was made.

    Raises what refuses the job, or ResourceExhausted where no run may be made now.
    """
    triggering.check_capacity()
    await triggering.refill_keys()
    snapshot = JobSnapshot(_draft(change, job_id, job))
    if snapshot.parameters is not None:
        # Raises where one is required that has no default.
        snapshot.parameters.fill(Struct())
    run = triggering.new_run(snapshot, trigger=trigger_of(change.author), now=change.now)
    run.principal_key, run.principal = change.author.key, change.author.name
    run.actor = change.author
    loop = asyncio.get_running_loop()
    created: asyncio.Future[Any] = loop.create_future()
    fired: asyncio.Future[bool] = loop.create_future()

    def after(command: CreateRun, error: Exception | None) -> None:
        if not fired.done():
            fired.set_result(error is None and command.outcome in _MADE)

    given = {"job_id": job_id, "job": job, "claim": claim}
    store.stage(Call(_create, (change, snapshot), given, created))
    triggering.stage(run, after)
    row, replayed = await created
    return row, replayed, await fired


def _create(
    tx: Tx,
    change: Change,
    snapshot: JobSnapshot,
    *,
    job_id: bytes,
    job: Job,
    claim: RequestClaim | None,
) -> tuple[JobRow, bool]:
    # A batch may be applied again: what the try before found is void.
    snapshot.key = _NO_KEY
    row, replayed = job_changes.create_job(
        tx, change, job_id=job_id, job=job, claim=claim, triggered=True
    )
    if not replayed:
        snapshot.key = row.key
    return row, replayed


def _draft(change: Change, job_id: bytes, job: Job) -> JobRow:
    """The row as it will be, as far as a run is concerned."""
    spec = normalise_job(job)
    return JobRow(
        key=_NO_KEY,
        id=job_id,
        name=spec.name,
        group_name=effective(spec).group,
        tags=tuple(spec.tags),
        status=int(JobStatus.SCHEDULED),
        spec=spec.SerializeToString(deterministic=True),
        version=1,
        revision=1,
        trusted=change.trusted,
        created_at=change.now,
        updated_at=change.now,
        deleted_at=None,
        paused_until=None,
        next_fire_at=None,
        next_nominal_at=None,
    )
