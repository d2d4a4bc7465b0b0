"""PreviewSchedule: of a saved job or of a definition, by the code that fires both."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from kronforce.api.convert.instants import instant_us
from kronforce.api.convert.preview import preview_message
from kronforce.clock import from_us, to_us
from kronforce.core.access import Scope
from kronforce.core.ids import to_text
from kronforce.core.job_preview import Spent, preview
from kronforce.core.job_rules import timing_alone, validate_timing
from kronforce.core.job_settings import TIMEZONE, effective
from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.one_shot import OneShot
from kronforce.core.schedules.window import JobStatus
from kronforce.errors import InvalidArgument
from kronforce.store.database import Tx
from kronforce.store.fires import list_fires
from kronforce.store.jobs import JobRow
from kronforce.store.paging import PageRequest
from kronforce.v1.job_pb2 import Job
from kronforce.v1.job_service_pb2 import PreviewScheduleRequest, PreviewScheduleResponse

DEFAULT_COUNT = 10
# Each costs some ten microseconds, on the loop.
MAX_COUNT = 1_000

# Beyond it no fire can be stored, and local time may leave the calendar.
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """How many instants after which."""

    now: datetime
    after: datetime
    count: int


def preview_question(request: PreviewScheduleRequest, now: datetime) -> Question:
    """What is asked; raises InvalidArgument."""
    if bool(request.job_id) == request.HasField("job"):
        raise InvalidArgument.of(
            ("job_id", "name a saved job here, or give a definition in job: exactly one of them")
        )
    if not 0 <= request.count <= MAX_COUNT:
        raise InvalidArgument.of(("count", f"{request.count} is not 1 to {MAX_COUNT:,}"))
    after = now
    if request.HasField("after"):
        after = from_us(instant_us(request.after))
        if not _EARLIEST <= after <= _LATEST:
            raise InvalidArgument.of(("after", "is not an instant from 1970 to 9990"))
    return Question(now=now, after=after, count=request.count or DEFAULT_COUNT)


def find_spent(tx: Tx, scope: Scope, row: JobRow) -> Spent | None:
    """What became of the instant of a one-shot, which has no other; None: nothing yet."""
    schedule = effective(Job.FromString(row.spec)).schedule
    if not isinstance(schedule, OneShot):
        return None
    at = to_us(schedule.at)
    found = list_fires(tx, scope, row.key, since=at, until=at, page=PageRequest(size=1)).items
    if not found:
        return None
    return Spent(
        fired_at=from_us(found[0].fired_at),
        caught_up=found[0].caught_up,
        run_id=to_text(found[0].run_id) if found[0].run_id else "",
        reason=found[0].reason,
    )


def preview_saved(
    row: JobRow, question: Question, spent: Spent | None = None
) -> PreviewScheduleResponse:
    """When a job of the store fires next, as it is held now."""
    next_ = None if row.next_fire_at is None else from_us(row.next_fire_at)
    until = None if row.paused_until is None else from_us(row.paused_until)
    job = Job.FromString(row.spec)
    return _answer(job, row.status, until, next_, question, spent)


def preview_unsaved(job: Job, question: Question) -> PreviewScheduleResponse:
    """When it would fire if it were saved now; raises InvalidArgument."""
    if problems := validate_timing(job, question.now):
        raise InvalidArgument.of(*((f"job.{field}", text) for field, text in problems))
    alone = timing_alone(job)
    starts = max(question.now, effective(alone).starts_at or question.now)
    return _answer(alone, job.status, None, starts, question)


def _answer(
    job: Job,
    status: int,
    paused_until: datetime | None,
    next_: datetime | None,
    question: Question,
    spent: Spent | None = None,
) -> PreviewScheduleResponse:
    settings = effective(job)
    over = paused_until is not None and paused_until <= question.now
    gate = settings.gate(
        status=JobStatus.SCHEDULED if over else status,
        paused_until=None if over else paused_until,
    )
    found = preview(
        settings,
        gate=gate,
        after=question.after,
        count=question.count,
        planned=next_ if isinstance(settings.schedule, Interval) else None,
        spent=spent,
    )
    return preview_message(found, job.timezone or TIMEZONE)
