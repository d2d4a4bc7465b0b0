"""Follows new zone data: what was planned with other rules for a zone's clocks is planned anew.

Runs once at start, before anything fires, and does something only where the
data differs from what the store was planned with. A schedule goes on from the
last sign of life, as all before it was accounted for by the old rules: an
instant that the new rules put between that and now was missed and follows the
job's misfire policy.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import zoneinfo
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from kronforce.clock import Clock, from_us, to_us
from kronforce.core.job_settings import effective
from kronforce.core.job_timing import follows_zone, plan_timing
from kronforce.core.schedules.window import JobStatus
from kronforce.errors import Aborted, NotFound
from kronforce.store import counters, fires
from kronforce.store import jobs as job_store
from kronforce.store.database import Tx
from kronforce.store.events import newest_event_at
from kronforce.store.jobs import JobRow
from kronforce.store.store import Store
from kronforce.v1.job_pb2 import Job

log = logging.getLogger(__name__)

# What the store's schedules were planned with.
COUNTER = "zone_data"
# Jobs looked at in one transaction: some tens of milliseconds.
BATCH = 500

# The same zones in other forms, which nobody reads.
_COPIES = {"posix", "right"}


async def follow_zone_data(store: Store, clock: Clock) -> int:
    """Plan anew what the zone data of this process makes different; how many jobs that were."""
    now_used = await asyncio.to_thread(fingerprint, zoneinfo.TZPATH)
    if await store.read(counters.value_of, COUNTER) == now_used:
        return 0
    now = clock.now_us()
    # Every fire made an event. Without any, nothing is known but that the past is over.
    alive = await store.read(newest_event_at) or now
    changed, after = 0, 0
    while rows := await store.read(job_store.planned_jobs, after, BATCH):
        after = rows[-1].key
        concerned = [row for row in rows if follows_zone(effective(Job.FromString(row.spec)))]
        if concerned:
            changed += await store.write(_replan, concerned, alive, now)
    await store.write(counters.set_to, COUNTER, now_used)
    if changed:
        log.warning(
            "the rules of time zones changed: %d schedules were planned anew", changed,
            extra={"action": "zone_data_changed", "jobs": changed},
        )  # fmt: skip
    return changed


@lru_cache(maxsize=8)
def fingerprint(folders: tuple[str, ...]) -> int:
    """A number for the zone data in these folders and in the package behind them; never 0."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in folders:
        for root, below, names in os.walk(folder):
            below[:] = sorted(set(below) - _COPIES)
            for name in sorted(names):
                digest.update(name.encode() + b"\0")
                digest.update(Path(root, name).read_bytes())
    try:
        digest.update(metadata.version("tzdata").encode())
    except metadata.PackageNotFoundError:
        digest.update(b"no package")
    return int.from_bytes(digest.digest(), "big") >> 1 or 1


def _replan(tx: Tx, rows: list[JobRow], alive: int, now: int) -> int:
    # A skip makes no event: the ledger may know more.
    accounted = fires.accounted_until(tx, [row.key for row in rows])
    return sum(
        _replan_one(tx, row, max(alive, accounted.get(row.key, 0), row.updated_at), now)
        for row in rows
    )


def _replan_one(tx: Tx, row: JobRow, accounted: int, now: int) -> bool:
    """Whether the new rules make a difference to this job, which is then written."""
    assert row.next_fire_at is not None
    planned = row.next_nominal_at if row.next_nominal_at is not None else row.next_fire_at
    timing = plan_timing(
        effective(Job.FromString(row.spec)),
        now=from_us(min(accounted, planned - 1)),
        paused=row.status == JobStatus.PAUSED,
        paused_until=None if row.paused_until is None else from_us(row.paused_until),
    )
    if timing.next_nominal_at is None or timing.next_fire_at is None:
        return False
    nominal, fire_at = to_us(timing.next_nominal_at), to_us(timing.next_fire_at)
    if (nominal, fire_at) == (planned, row.next_fire_at):
        return False
    try:
        job_store.set_timing(
            tx, key=row.key, status=row.status, paused_until=row.paused_until,
            next_fire_at=fire_at, next_nominal_at=nominal, now=now, bump=False,
            expected_revision=row.revision,
        )  # fmt: skip
    except (Aborted, NotFound):
        # Somebody changed it meanwhile, and planned it with the new rules.
        return False
    return True
