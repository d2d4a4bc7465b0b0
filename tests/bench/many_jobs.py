"""A data folder whose store has many jobs before anything starts: through the store, not the API.

They are monthly, each at a time of its own in one of a few zones, so that hardly any fires while
something is measured.
"""

from __future__ import annotations

import random
import zoneinfo
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from kronforce.clock import SystemClock, to_us
from kronforce.core.ids import IdSource
from kronforce.core.job_settings import effective
from kronforce.core.job_timing import Timing, plan_timing
from kronforce.core.names import DEFAULT_GROUP
from kronforce.engine.zone_changes import COUNTER, fingerprint
from kronforce.store import counters
from kronforce.store.database import open_database, writing
from kronforce.store.groups import ensure_group
from kronforce.store.migrate import migrate
from kronforce.store.tables import job_versions, jobs
from kronforce.v1.job_pb2 import Job

BATCH = 2_000
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")


CronOf = Callable[[int], str]
"""The schedule of the job with this number."""


def monthly(number: int) -> str:
    minute, hour, day = number % 60, number // 60 % 24, number // 1440 % 28 + 1
    return f"0 {minute} {hour} {day} * *"


def later(number: int) -> str:
    """Monthly, and none of them today, yesterday or tomorrow, wherever that is."""
    today = datetime.now(UTC).day
    days = [day for day in range(1, 29) if (day - today) % 31 not in (0, 1, 2, 29, 30)]
    minute, hour, day = number % 60, number // 60 % 24, days[number // 1440 % len(days)]
    return f"0 {minute} {hour} {day} * *"


def fill(folder: Path, count: int, cron: CronOf = monthly, zones: Sequence[str] = ZONES) -> None:
    """Make the folder's SQLite store with jobs `job-0` to `job-{count - 1}`.

    It has been there before: what a first start does to it is done.
    """
    fill_store(str(folder / "kronforce.db"), count, cron, zones)


def fill_store(
    location: str, count: int, cron: CronOf = monthly, zones: Sequence[str] = ZONES
) -> None:
    """The same for a SQLite file or the URL of a PostgreSQL database."""
    database = open_database(location)
    new_id = IdSource(SystemClock(), random.Random(7))
    now = datetime.now(UTC)
    try:
        migrate(database)
        with writing(database.main) as tx:
            ensure_group(tx, DEFAULT_GROUP, to_us(now))
            counters.set_to(tx, COUNTER, fingerprint(zoneinfo.TZPATH))
            for start in range(0, count, BATCH):
                numbers = range(start, min(start + BATCH, count))
                rows = [_row(number, new_id(), now, cron(number), zones) for number in numbers]
                tx.conn.execute(sa.insert(jobs), rows)
                tx.conn.execute(sa.insert(job_versions), [_version(row) for row in rows])
    finally:
        database.close()


def _row(
    number: int, job_id: bytes, now: datetime, cron: str, zones: Sequence[str]
) -> dict[str, Any]:
    job = Job(name=f"job-{number}", timezone=zones[number % len(zones)])
    job.task.noop.SetInParent()
    job.target.any.SetInParent()
    job.schedule.cron = cron
    timing = _timing(cron, job.timezone, now)
    assert timing.next_fire_at is not None
    assert timing.next_nominal_at is not None
    return {
        "key": number + 1,
        "id": job_id,
        "name": job.name,
        "name_lower": job.name,
        "group_name": DEFAULT_GROUP,
        "tags": "",
        "status": int(timing.status),
        "spec": job.SerializeToString(deterministic=True),
        "version": 1,
        "revision": 1,
        "trusted": False,
        "created_at": to_us(now),
        "updated_at": to_us(now),
        "next_fire_at": to_us(timing.next_fire_at),
        "next_nominal_at": to_us(timing.next_nominal_at),
    }


@cache
def _timing(cron: str, timezone: str, now: datetime) -> Timing:
    """Planned once for all jobs of the same schedule."""
    job = Job(name="any", timezone=timezone)
    job.task.noop.SetInParent()
    job.target.any.SetInParent()
    job.schedule.cron = cron
    return plan_timing(effective(job), now=now)


def _version(row: dict[str, Any]) -> dict[str, Any]:
    kept = ("version", "spec", "trusted", "created_at")
    return {"job_key": row["key"], "actor": "bench"} | {name: row[name] for name in kept}
