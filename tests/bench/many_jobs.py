"""A data folder whose store has many jobs before anything starts: through the store, not the API.

They are monthly, each at a time of its own in one of a few zones, so that hardly any fires while
something is measured.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from kronforce.clock import SystemClock, to_us
from kronforce.core.ids import IdSource
from kronforce.core.job_settings import effective
from kronforce.core.job_timing import plan_timing
from kronforce.core.names import DEFAULT_GROUP
from kronforce.store.database import open_database, writing
from kronforce.store.groups import ensure_group
from kronforce.store.migrate import migrate
from kronforce.store.tables import job_versions, jobs
from kronforce.v1.job_pb2 import Job

BATCH = 2_000
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")


def fill(folder: Path, count: int) -> None:
    """Make the folder's SQLite store with jobs `job-0` to `job-{count - 1}`."""
    database = open_database(str(folder / "kronforce.db"))
    new_id = IdSource(SystemClock(), random.Random(7))
    now = datetime.now(UTC)
    try:
        migrate(database)
        with writing(database.main) as tx:
            ensure_group(tx, DEFAULT_GROUP, to_us(now))
            for start in range(0, count, BATCH):
                numbers = range(start, min(start + BATCH, count))
                rows = [_row(number, new_id(), now) for number in numbers]
                tx.conn.execute(sa.insert(jobs), rows)
                tx.conn.execute(sa.insert(job_versions), [_version(row) for row in rows])
    finally:
        database.close()


def _row(number: int, job_id: bytes, now: datetime) -> dict[str, Any]:
    job = Job(name=f"job-{number}", timezone=ZONES[number % len(ZONES)])
    job.task.noop.SetInParent()
    job.target.any.SetInParent()
    minute, hour, day = number % 60, number // 60 % 24, number // 1440 % 28 + 1
    job.schedule.cron = f"0 {minute} {hour} {day} * *"
    timing = plan_timing(effective(job), now=now)
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


def _version(row: dict[str, Any]) -> dict[str, Any]:
    kept = ("version", "spec", "trusted", "created_at")
    return {"job_key": row["key"], "actor": "bench"} | {name: row[name] for name in kept}
