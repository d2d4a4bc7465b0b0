"""Jobs, their fires and their groups."""

from __future__ import annotations

from collections.abc import Hashable

from kronforce.api.convert.instants import stamp, stamp_or_none
from kronforce.clock import from_us, to_us
from kronforce.core.custom_tasks import masked
from kronforce.core.ids import to_text
from kronforce.core.job_settings import effective
from kronforce.core.job_timing import shown_next_fire
from kronforce.core.schedules.window import JobStatus
from kronforce.engine.job_changes import etag_of
from kronforce.store.fires import FireRow
from kronforce.store.groups import GroupRow
from kronforce.store.jobs import JobRow, LastRunRow
from kronforce.v1.group_pb2 import Group
from kronforce.v1.job_pb2 import DST_GAP_SKIP, Fire, Job, LastRun

# Definitions as they are shown, without what changes by itself: some 100 pages of them. Larger ones
# are rare and made each time, so that all of them take 80 MB at most.
MAX_SETTLED = 10_000
MAX_SETTLED_BYTES = 4 << 10
_SETTLED: dict[Hashable, bytes] = {}


def job_message(row: JobRow, last: LastRunRow | None, now: int) -> Job:
    """The definition as its author wrote it, with what the server knows of the job."""
    message = Job.FromString(_settled(row))
    status = _status(row, now)
    message.status = status  # type: ignore[assignment]  # the enum's number, as stored
    # What a pause that is over said concerns nobody any more.
    if status == JobStatus.PAUSED and row.paused_until is not None:
        message.paused_until.CopyFrom(stamp(row.paused_until))
    next_fire = _next_fire(message, row)
    if next_fire is not None:
        message.next_fire_at.CopyFrom(stamp(next_fire))
    if last is not None:
        message.last_run.CopyFrom(_last_run(last))
    return message


def _settled(row: JobRow) -> bytes:
    """What stays while the definition does, encoded."""
    if len(row.spec) > MAX_SETTLED_BYTES:
        return _definition(row).SerializeToString()
    # All that goes into it: the same job in another state of its store is another one.
    key = (
        row.id,
        row.spec,
        row.version,
        row.revision,
        row.group_name,
        row.created_at,
        row.updated_at,
    )
    found = _SETTLED.get(key)
    if found is None:
        if len(_SETTLED) >= MAX_SETTLED:
            del _SETTLED[next(iter(_SETTLED))]
        found = _SETTLED[key] = _definition(row).SerializeToString()
    return found


def _definition(row: JobRow) -> Job:
    message = masked(Job.FromString(row.spec))
    message.MergeFrom(
        Job(
            id=to_text(row.id),
            group=row.group_name,
            version=row.version,
            etag=etag_of(row),
            created_at=stamp(row.created_at),
            updated_at=stamp(row.updated_at),
        )
    )
    return message


def group_message(row: GroupRow) -> Group:
    """A group with its number of jobs."""
    return Group(name=row.name, created_at=stamp(row.created_at), job_count=row.job_count)


def fire_message(row: FireRow, job_id: bytes) -> Fire:
    """An instant that fired, or a range of them that did not."""
    fired = row.run_id is not None
    return Fire(
        job_id=to_text(job_id),
        nominal_at=stamp(row.nominal_at),
        run_id=to_text(row.run_id) if row.run_id else "",
        late_ms=max(0, row.fired_at - row.nominal_at) // 1000 if fired else 0,
        caught_up=row.caught_up,
        skipped_reason=row.reason,
        until=None if fired else stamp(row.until),
        count=row.count,
    )


def _status(row: JobRow, now: int) -> int:
    """The stored status; a pause that has ended by itself is over before the store says so."""
    over = row.paused_until is not None and row.paused_until <= now
    if row.status == JobStatus.PAUSED and over and row.next_fire_at is not None:
        return JobStatus.SCHEDULED
    return row.status


def _next_fire(job: Job, row: JobRow) -> int | None:
    plain = row.status != JobStatus.PAUSED and job.dst_gap != DST_GAP_SKIP
    if plain or row.next_fire_at is None:
        return row.next_fire_at
    shown = shown_next_fire(
        effective(job),
        status=row.status,
        paused_until=None if row.paused_until is None else from_us(row.paused_until),
        next_fire_at=from_us(row.next_fire_at),
    )
    return None if shown is None else to_us(shown)


def _last_run(row: LastRunRow) -> LastRun:
    return LastRun(
        run_id=to_text(row.id),
        state=row.state,  # type: ignore[arg-type]  # the enum's number, as stored
        created_at=stamp(row.created_at),
        finished_at=stamp_or_none(row.finished_at),
    )
