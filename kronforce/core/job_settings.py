"""What a stored job means, with every default of the contract applied.

A definition is kept as its author wrote it; whoever acts on it reads these
settings instead, so that a default is written down once. Nothing here checks
anything: a job that was saved has passed `job_rules.validate_job`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import IntEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.core.custom_tasks import kind_of
from kronforce.core.delivery import Delivery
from kronforce.core.names import DEFAULT_GROUP
from kronforce.core.pull_rules import UNCLAIMED_SECS
from kronforce.core.retry import RetryPolicy, parse_retry_on
from kronforce.core.schedules.interval import Interval
from kronforce.core.schedules.misfire import MisfirePolicy, MisfireRule
from kronforce.core.schedules.on_demand import OnDemand
from kronforce.core.schedules.one_shot import OneShot
from kronforce.core.schedules.schedule import CronLine, Schedule
from kronforce.core.schedules.window import Gate, JobStatus
from kronforce.core.schedules.zones import DstFold, DstGap, DstRule
from kronforce.v1.job_pb2 import Job

MISFIRE_LIMIT = 100
OFFLINE_TIMEOUT_SECS = 3_600
QUEUE_LIMIT = 1_000
QUEUE_TIMEOUT_SECS = 86_400
KILL_GRACE_SECS = 10
RETRY_BACKOFF = 1.0
RETRY_MAX_DELAY_SECS = 3_600.0
RETRY_ON = ("failed", "timed_out")
LOST_AFTER_SECS = 300
OUTPUT_CAP_BYTES = 64 << 20
TIMEZONE = "UTC"

# Zones in use at once; there are about 600 in all.
_ZONES = 1024


class ConcurrencyPolicy(IntEnum):
    """What a trigger does at the job's limit; numbers are the contract's."""

    QUEUE = 1
    FORBID = 2
    REPLACE = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSettings:
    """A job's fields as they act; where the contract's 0 means "none" or "any", 0 it stays.

    `max_concurrent` 0 is "unlimited" and occurs with `QUEUE` only.
    """

    group: str
    task_type: str
    run_as: str
    schedule: Schedule
    zone: tzinfo
    # How much later than its nominal instants it fires.
    jitter: timedelta
    starts_at: datetime | None
    expires_at: datetime | None
    misfire: MisfireRule
    sticky: bool
    spread: bool
    offline_timeout_secs: int
    priority: int
    max_concurrent: int
    concurrency_policy: ConcurrencyPolicy
    queue_limit: int
    queue_timeout_secs: int
    timeout_secs: int
    kill_grace_secs: int
    run_timeout_secs: int
    retry: RetryPolicy
    delivery: Delivery
    lost_after_secs: int
    output_cap_bytes: int
    max_run_history: int

    def gate(self, *, status: int, paused_until: datetime | None) -> Gate:
        """The window of the definition with the pause of the row."""
        return Gate(
            starts_at=self.starts_at,
            expires_at=self.expires_at,
            paused=status == JobStatus.PAUSED,
            paused_until=paused_until,
        )


def effective(job: Job) -> JobSettings:
    """Apply every default; the job has passed `validate_job`."""
    policy = ConcurrencyPolicy(job.concurrency_policy or ConcurrencyPolicy.QUEUE)
    least = 0 if policy is ConcurrencyPolicy.QUEUE else 1
    return JobSettings(
        group=job.group or DEFAULT_GROUP,
        task_type=kind_of(job),
        run_as=job.run_as,
        schedule=schedule_of(job),
        zone=zone_of(job.timezone),
        jitter=jitter_of(job),
        starts_at=_instant(job.starts_at) if job.HasField("starts_at") else None,
        expires_at=_instant(job.expires_at) if job.HasField("expires_at") else None,
        misfire=_misfire_rule(job),
        sticky=job.sticky,
        spread=job.spread,
        offline_timeout_secs=_given(job, "offline_timeout_secs", OFFLINE_TIMEOUT_SECS),
        priority=job.priority,
        max_concurrent=max(job.max_concurrent, least),
        concurrency_policy=policy,
        queue_limit=_given(job, "queue_limit", QUEUE_LIMIT),
        queue_timeout_secs=_given(job, "queue_timeout_secs", queue_timeout(job)),
        timeout_secs=job.timeout_secs,
        kill_grace_secs=_given(job, "kill_grace_secs", KILL_GRACE_SECS),
        run_timeout_secs=job.run_timeout_secs,
        retry=_retry_policy(job),
        delivery=Delivery(job.delivery or Delivery.AT_MOST_ONCE),
        lost_after_secs=_given(job, "lost_after_secs", LOST_AFTER_SECS),
        output_cap_bytes=_given(job, "output_cap_bytes", OUTPUT_CAP_BYTES),
        max_run_history=job.max_run_history,
    )


def task_type(job: Job) -> str:
    """The name of the task's arm, for example `shell`; empty if there is none."""
    return job.task.WhichOneof("kind") or ""


def queue_timeout(job: Job) -> int:
    """How long an execution waits where its job does not say."""
    return UNCLAIMED_SECS if task_type(job) == "custom" else QUEUE_TIMEOUT_SECS


def schedule_of(job: Job) -> Schedule:
    """The schedule; a job without one is on demand."""
    match job.schedule.WhichOneof("kind"):
        case "cron":
            return CronLine(expression=job.schedule.cron, dst=_dst_rule(job))
        case "one_shot":
            return OneShot(at=_instant(job.schedule.one_shot))
        case "interval":
            return Interval(delay=timedelta(seconds=job.schedule.interval.interval_secs))
        case _:
            return OnDemand()


def jitter_of(job: Job) -> timedelta:
    """A share of `jitter_secs` that is always the same for a job's name, to the millisecond.

    By name and not by id, so that a preview tells it before the job is saved. An interval is
    spread by its runs' own durations and is left alone.
    """
    if not job.jitter_secs or job.schedule.WhichOneof("kind") == "interval":
        return timedelta()
    digest = hashlib.blake2b(job.name.encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "big")
    return timedelta(milliseconds=number % (job.jitter_secs * 1000 + 1))


@lru_cache(maxsize=_ZONES)
def zone_of(name: str) -> tzinfo:
    """The zone of an IANA name, UTC for none; raises KeyError, ValueError or OSError if unknown."""
    return UTC if name in ("", TIMEZONE) else ZoneInfo(name)


def _dst_rule(job: Job) -> DstRule:
    return DstRule(
        gap=DstGap(job.dst_gap or DstGap.SHIFT), fold=DstFold(job.dst_fold or DstFold.FIRST)
    )


def _misfire_rule(job: Job) -> MisfireRule:
    deadline = job.starting_deadline_secs
    return MisfireRule(
        policy=MisfirePolicy(job.misfire_policy or MisfirePolicy.RUN_ONCE),
        limit=_given(job, "misfire_limit", MISFIRE_LIMIT),
        starting_deadline=timedelta(seconds=deadline) if deadline else None,
    )


def _retry_policy(job: Job) -> RetryPolicy:
    states, exit_codes = parse_retry_on(list(job.retry_on or RETRY_ON))
    return RetryPolicy(
        retry_max=job.retry_max,
        delay_secs=job.retry_delay_secs,
        backoff=job.retry_backoff if job.HasField("retry_backoff") else RETRY_BACKOFF,
        max_delay_secs=(
            job.retry_max_delay_secs
            if job.HasField("retry_max_delay_secs")
            else RETRY_MAX_DELAY_SECS
        ),
        jitter=job.retry_jitter,
        states=states,
        exit_codes=exit_codes,
    )


def _given(job: Job, field: str, default: int) -> int:
    return int(getattr(job, field)) if job.HasField(field) else default  # type: ignore[arg-type]  # the stub wants literals


def _instant(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
