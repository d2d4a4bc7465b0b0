"""What a job must satisfy before it is stored: every limit of `job.proto`, in one place.

Pure: no clock, no store. Fields are named as people write them in JSON and
YAML (`schedule.value`, `task.env.PATH`, `labels.team`), and each description
completes "field: …" with what is wrong and the way out. Checks against the
store (names taken, agents that do not exist) belong to `engine/jobs.py`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import available_timezones

from google.protobuf.descriptor import EnumValueDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.core.input_rules import input_problems
from kronforce.core.job_settings import JobSettings, effective, schedule_of, zone_of
from kronforce.core.names import (
    LABELS_MAX,
    TAGS_MAX,
    group_name_problem,
    job_name_problem,
    label_key_problem,
    label_value_problem,
    tag_problem,
)
from kronforce.core.retry import parse_retry_on
from kronforce.core.schedules.cron import parse_cron
from kronforce.core.schedules.cron_grammar import CronError
from kronforce.core.schedules.schedule import next_fire
from kronforce.core.task_rules import Problem, number, task_problems
from kronforce.v1.job_pb2 import Job

__all__ = ["BOUNDS", "JobSettings", "effective", "normalise_job", "validate_job"]

DESCRIPTION_MAX = 10_000
RUN_AS_MAX = 100
AGENT_REF_MAX = 100
RETRY_ON_MAX = 64
YEAR_SECS = 31_536_000
# Fields without a limit of their own are bounded by their type.
_INT32_MAX = 2**31 - 1

# From 1970 to the end of 9998: a year's room for jitter and delays before the calendar ends.
_STAMP_MAX = 253_370_764_799
_NANOS_MAX = 999_999_999

OUTPUT_ONLY = (
    "id",
    "next_fire_at",
    "last_run",
    "version",
    "etag",
    "created_at",
    "updated_at",
    "paused_until",
    "warnings",
)

# Field, least, most; fields with presence are checked only when they are set.
BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("jitter_secs", 0, 3_600),
    ("misfire_limit", 1, 10_000),
    ("starting_deadline_secs", 0, _INT32_MAX),
    ("offline_timeout_secs", 0, _INT32_MAX),
    ("priority", -1_000, 1_000),
    ("max_concurrent", 0, _INT32_MAX),
    ("queue_limit", 1, 1_000_000),
    ("queue_timeout_secs", 0, _INT32_MAX),
    ("timeout_secs", 0, _INT32_MAX),
    ("kill_grace_secs", 0, 3_600),
    ("run_timeout_secs", 0, _INT32_MAX),
    ("retry_max", 0, 100),
    ("retry_delay_secs", 0, YEAR_SECS),
    ("retry_backoff", 1, 100),
    ("retry_max_delay_secs", 0, YEAR_SECS),
    ("retry_jitter", 0, 1),
    ("lost_after_secs", 30, 604_800),
    ("output_cap_bytes", 0, 10 << 30),
    ("max_run_history", 0, 1_000_000),
)
_ENUMS = ("status", "misfire_policy", "concurrency_policy", "delivery", "dst_gap", "dst_fold")
# The fields that say when a job fires.
_TIMING = frozenset(
    {
        "schedule",
        "timezone",
        "dst_gap",
        "dst_fold",
        "jitter_secs",
        "starts_at",
        "expires_at",
    }
)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*\$?")


def validate_job(job: Job, now: datetime | None = None) -> list[Problem]:
    """Everything that is wrong, as (field, description); empty for a good job.

    With `now`, a schedule that can be guessed comes with the instant at which it would fire.
    """
    return [
        *_name_problems(job),
        *_tag_problems(job),
        *task_problems(job.task),
        *_schedule_problems(job, now),
        *_target_problems(job),
        *_window_problems(job),
        *_number_problems(job),
        *_enum_problems(job),
        *_retry_problems(job),
        *input_problems(job),
    ]


def validate_timing(job: Job, now: datetime | None = None) -> list[Problem]:
    """What is wrong with the fields that say when it fires; the rest may be missing."""
    return [
        (field, description)
        for field, description in (
            *_schedule_problems(job, now),
            *_window_problems(job),
            *_number_problems(job),
            *_enum_problems(job),
        )
        if field.partition(".")[0] in _TIMING
    ]


def timing_alone(job: Job) -> Job:
    """The job with what `validate_timing` looked at, and what its name and status add to that."""
    alone = Job()
    alone.CopyFrom(job)
    for field, _ in job.ListFields():
        if field.name not in _TIMING and field.name not in ("name", "status"):
            alone.ClearField(field.name)  # type: ignore[arg-type]  # the stub wants literals
    return alone


def normalise_job(job: Job) -> Job:
    """The definition alone, as its author wrote it: what is stored and versioned.

    Output-only fields go, and `status`, which is the row's.
    """
    spec = Job()
    spec.CopyFrom(job)
    for field in (*OUTPUT_ONLY, "status"):
        spec.ClearField(field)  # type: ignore[arg-type]  # the stub wants literals
    return spec


def _name_problems(job: Job) -> Iterator[Problem]:
    if problem := job_name_problem(job.name):
        yield "name", problem
    if job.group and (problem := group_name_problem(job.group)):
        yield "group", problem
    if len(job.description) > DESCRIPTION_MAX:
        yield (
            "description",
            f"is {len(job.description):,} characters long; at most {DESCRIPTION_MAX:,}",
        )
    if len(job.run_as) > RUN_AS_MAX or (job.run_as and not _USER.fullmatch(job.run_as)):
        yield "run_as", f"{job.run_as!r} is no user name; write a login name, for example backup"


def _tag_problems(job: Job) -> Iterator[Problem]:
    if len(job.tags) > TAGS_MAX:
        yield "tags", f"has {len(job.tags)} tags; at most {TAGS_MAX}"
    for place, tag in enumerate(job.tags):
        if problem := tag_problem(tag):
            yield f"tags[{place}]", problem
    if len(job.labels) > LABELS_MAX:
        yield "labels", f"has {len(job.labels)} labels; at most {LABELS_MAX}"
    for key, value in sorted(job.labels.items()):
        if problem := label_key_problem(key) or label_value_problem(value):
            yield f"labels.{key}", problem


def _schedule_problems(job: Job, now: datetime | None) -> Iterator[Problem]:
    if problem := _zone_problem(job.timezone):
        yield "timezone", problem
    if not job.HasField("schedule"):
        return
    match job.schedule.WhichOneof("kind"):
        case None:
            yield "schedule.type", "is required: cron, one_shot, interval or on_demand"
        case "cron":
            yield from _cron_problems(job, now)
        case "one_shot":
            yield from _stamp_problems("schedule.value", job.schedule.one_shot)
        case "interval":
            secs = job.schedule.interval.interval_secs
            yield from number("schedule.value.interval_secs", secs, 1, YEAR_SECS)


def _cron_problems(job: Job, now: datetime | None) -> Iterator[Problem]:
    try:
        parse_cron(job.schedule.cron)
    except CronError as error:
        next_ = _next_of(job, error.instead, now) if error.instead and now else ""
        colon = "" if error.field is None else ":"
        yield "schedule.value", f'"{job.schedule.cron}"{colon} {error}{next_}'


def _next_of(job: Job, expression: str, now: datetime | None) -> str:
    """When the line that was probably meant would fire; empty if nobody can say."""
    meant = Job(name=job.name, timezone=job.timezone)
    meant.schedule.cron = expression
    try:
        zone = zone_of(job.timezone)
        found = None if now is None else next_fire(schedule_of(meant), after=now, zone=zone)
    except (CronError, KeyError, ValueError, OSError):
        return ""
    if found is None:
        return ""
    local = found.astimezone(zone)
    east = local.isoformat()[19:]
    return f"   next: {local:%a %Y-%m-%d %H:%M:%S} {east}"


def _zone_problem(name: str) -> str | None:
    try:
        zone_of(name)
    except (KeyError, ValueError, OSError):
        close = difflib.get_close_matches(name, sorted(available_timezones()), n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "for example Europe/Berlin"
        return f"{name!r} is not an IANA time zone; {hint}"
    return None


def _target_problems(job: Job) -> Iterator[Problem]:
    custom = job.task.WhichOneof("kind") == "custom"
    if custom and job.target.WhichOneof("kind") in (None, "local"):
        yield (
            "target",
            "a custom task cannot run on this host's agent; name the custom agent: "
            '{"type": "agent", "agent_id": …}',
        )
        return
    if not job.HasField("target"):
        return
    match job.target.WhichOneof("kind"):
        case None:
            yield "target.type", "is required: local, agent, tagged, any or all"
        case "agent":
            reference = job.target.agent.agent_id
            if not reference or len(reference) > AGENT_REF_MAX:
                yield (
                    "target.agent_id",
                    "is required: an agent's name or id, see `kronforce agent list`",
                )
        case "tagged":
            if problem := tag_problem(job.target.tagged.tag):
                yield "target.tag", problem


def _window_problems(job: Job) -> Iterator[Problem]:
    problems = [
        problem
        for field, stamp in (("starts_at", job.starts_at), ("expires_at", job.expires_at))
        for problem in _stamp_problems(field, stamp)
    ]
    yield from problems
    if problems or not (job.HasField("starts_at") and job.HasField("expires_at")):
        return
    if job.starts_at.ToNanoseconds() >= job.expires_at.ToNanoseconds():
        yield "expires_at", "is not after starts_at, so the job could never fire; move one of them"


def _stamp_problems(field: str, stamp: Timestamp) -> Iterator[Problem]:
    if not (0 <= stamp.seconds <= _STAMP_MAX and 0 <= stamp.nanos <= _NANOS_MAX):
        yield field, "is not an instant from 1970 to 9998; write for example 2026-12-31T23:00:00Z"


def _number_problems(job: Job) -> Iterator[Problem]:
    for field, low, high in BOUNDS:
        # An unset field with presence reads as 0, which may be outside its bounds.
        with_presence = job.DESCRIPTOR.fields_by_name[field].has_presence
        if not with_presence or job.HasField(field):  # type: ignore[arg-type]  # the stub wants literals
            yield from number(field, getattr(job, field), low, high)


def _enum_problems(job: Job) -> Iterator[Problem]:
    for field in _ENUMS:
        kind = job.DESCRIPTOR.fields_by_name[field].enum_type
        value = getattr(job, field)
        if kind is not None and value not in kind.values_by_number:
            words = ", ".join(_word(item) for item in kind.values if item.number)
            yield field, f"{value} is not known; use {words}"


def _word(value: EnumValueDescriptor) -> str:
    """The word of an enum value, as JSON has it: without its type's prefix."""
    prefix = value.type.values[0].name.removesuffix("UNSPECIFIED")
    return str(value.name).removeprefix(prefix).lower()


def _retry_problems(job: Job) -> Iterator[Problem]:
    if len(job.retry_on) > RETRY_ON_MAX:
        yield "retry_on", f"has {len(job.retry_on)} words; at most {RETRY_ON_MAX}"
        return
    for place, word in enumerate(job.retry_on):
        try:
            parse_retry_on([word])
        except ValueError as error:
            yield f"retry_on[{place}]", str(error)
