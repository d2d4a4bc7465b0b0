"""An engine whose wall clock is set forward and back at random, and what must stay true.

Jobs name an agent that does not exist, so that a fire ends as it is made and no run overlaps the
next. Retention is out of the way: it would forget what the promises are judged by.
"""

import random
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from google.protobuf import text_format

from kronforce.clock import ManualClock, from_us
from kronforce.core.job_settings import effective
from kronforce.core.schedules.schedule import CronLine
from kronforce.engine import job_changes
from kronforce.engine.job_changes import Change
from kronforce.engine.scheduler import RELOAD_SECS
from kronforce.store import jobs as job_store
from kronforce.store.tables import fires, runs
from kronforce.v1.job_pb2 import Job
from tests.store.rig import ADMIN, Rig, Someone

# The day before Berlin's clocks go forward; New York's went three weeks ago.
START = datetime(2026, 3, 28, 12, tzinfo=UTC)
KEEP = timedelta(days=36_500)
# On a clock that the test alone moves.
FOR_EVER = 1e9
TICK = timedelta(microseconds=1)

# Left alone: every instant of theirs must be accounted for.
STEADY = {
    "secondly": 'schedule { cron: "* * * * * *" }',
    "all": 'schedule { cron: "0 */7 * * * *" } misfire_policy: MISFIRE_POLICY_RUN_ALL '
    "misfire_limit: 5 jitter_secs: 40",
    "left-out": 'schedule { cron: "0 0,30 1-3 * * *" } timezone: "Europe/Berlin" '
    "dst_gap: DST_GAP_SKIP dst_fold: DST_FOLD_BOTH",
    "shifted": 'schedule { cron: "0 0,30 2 * * *" } timezone: "Europe/Berlin"',
    "hourly": 'schedule { cron: "0 0 * * * *" } timezone: "America/New_York" '
    "misfire_policy: MISFIRE_POLICY_SKIP",
    "strict": 'schedule { cron: "*/10 * * * * *" } starting_deadline_secs: 20',
}
# Changed, paused and resumed all the time: theirs must only never come twice.
RESTLESS = 'schedule { cron: "*/20 * * * * *" } jitter_secs: 3'


class TimeTravel:
    """`travel` a while, then ask what went wrong."""

    def __init__(self, rig: Rig, clock: ManualClock, seed: int) -> None:
        self.rig = rig
        self.clock = clock
        self.rng = random.Random(seed)
        self._begun: dict[str, datetime] = {}

    async def prepare(self) -> None:
        for name, text in {**STEADY, "restless": RESTLESS}.items():
            spec = text_format.Parse(text, Job())
            if name == "restless":
                # Of no agents: whoever changes a job may name none that does not exist.
                spec.target.all.SetInParent()
            else:
                spec.target.agent.agent_id = "nobody"
            fields = {field.name: value for field, value in spec.ListFields()}
            await self.rig.job(name, **fields)
            self._begun[name] = self.clock.now()

    async def travel(self, jumps: int) -> None:
        for _ in range(jumps):
            if self.rng.random() < 0.2:
                await self._disturb()
            self.clock.jump(self._jump())
            # The loop looks at the wall clock at least this often.
            self.clock.advance(RELOAD_SECS + self.rng.random() * 30)
            await self.settle()

    def _jump(self) -> timedelta:
        """Mostly what NTP and suspended machines do; sometimes an operator's mistake."""
        kind = self.rng.random()
        if kind < 0.4:
            return timedelta(seconds=self.rng.uniform(-5, 5))
        if kind < 0.8:
            return timedelta(seconds=self.rng.uniform(-3600, 3700))
        return timedelta(hours=self.rng.uniform(-30, 31))

    async def settle(self) -> None:
        """Until nothing is due: whatever is ends in a commit."""
        store = self.rig.store
        while True:
            seen = store.commits
            if not await store.read(job_store.due_jobs, self.clock.now_us(), 1):
                return
            await store.wait_commit(seen, FOR_EVER)

    async def _disturb(self) -> None:
        change = Change(scope=ADMIN, author=Someone(), trusted=True, now=self.clock.now_us())
        kind = self.rng.choice(["edit", "pause", "resume"])
        if kind == "pause":
            row, _ = await self.rig.store.write(
                job_changes.pause_job, change, ref="restless", until=None
            )
        elif kind == "resume":
            row, _ = await self.rig.store.write(job_changes.resume_job, change, ref="restless")
        else:
            cron = self.rng.choice(["*/20 * * * * *", "*/30 * * * * *", "0 */2 * * * *"])
            job = Job(name="restless")
            job.schedule.cron = cron
            row, _ = await self.rig.store.write(
                job_changes.update_job, change, ref="restless", job=job, mask=["schedule"]
            )
        self.rig.engine.scheduler.changed(row)

    # What must be true.

    async def twice(self) -> list[object]:
        """Nominal instants that made more than one run."""
        return await self.rig.store.read(_twice)

    async def unaccounted(self) -> list[str]:
        """Jobs whose ledger does not add up to the instants that their schedules named."""
        found = []
        for name in STEADY:
            row = await self.rig.store.read(job_store.find_job, ADMIN, name)
            assert row.next_nominal_at is not None
            settings = effective(Job.FromString(row.spec))
            line = settings.schedule
            assert isinstance(line, CronLine)
            until = from_us(row.next_nominal_at) - TICK
            named = line.count_between(self._begun[name], until, settings.zone)
            gaps = line.left_out_between(self._begun[name], until, settings.zone)
            left_out = sum(gap.left_out for gap in gaps)
            fired, skipped, gone = await self.rig.store.read(_ledger, row.key)
            if (fired + skipped, gone) != (named, left_out):
                found.append(
                    f"{name}: {named} named, {fired} fired, {skipped} skipped; "
                    f"{left_out} left out, {gone} noted"
                )
        return found

    async def reasons(self) -> set[str]:
        return await self.rig.store.read(_reasons)


def _twice(tx):
    query = (
        sa.select(runs.c.job_key, runs.c.nominal_at)
        .where(runs.c.nominal_at.is_not(None))
        .group_by(runs.c.job_key, runs.c.nominal_at)
        .having(sa.func.count() > 1)
    )
    return tx.conn.execute(query).all()


def _ledger(tx, job_key):
    rows = tx.conn.execute(sa.select(fires).where(fires.c.job_key == job_key)).all()
    fired = sum(row.count for row in rows if not row.reason)
    gone = sum(row.count for row in rows if row.reason == "dst_gap")
    return fired, sum(row.count for row in rows) - fired - gone, gone


def _reasons(tx):
    return set(tx.conn.execute(sa.select(fires.c.reason).distinct()).scalars())
