"""Clocks that jump, zones whose rules change: no instant twice, none without a word."""

import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from kronforce.clock import ManualClock
from kronforce.core.job_settings import zone_of
from kronforce.engine import zone_changes
from kronforce.store.events import NewEvent, insert_events
from kronforce.store.tables import fires
from kronforce.v1 import job_pb2
from tests.store.rig import Rig
from tests.store.time_travel import KEEP, START, TimeTravel
from tests.store.zone_files import write_zone

JUMPS = 120
NOBODY = job_pb2.Target(agent=job_pb2.AgentTarget(agent_id="nobody"))
NIGHTLY = job_pb2.Schedule(cron="0 30 2 * * *")
WINTER, SUMMER = "XST-1", "XST-2"


async def test_no_jump_of_the_clock_fires_an_instant_twice_or_loses_one(store_url, tmp_path):
    clock = ManualClock(START)
    rig = Rig(store_url, tmp_path, clock=clock, retention=KEEP)
    await rig.start()
    try:
        journey = TimeTravel(rig, clock, seed=17)
        await journey.prepare()
        await journey.travel(JUMPS)

        assert await journey.twice() == []
        assert await journey.unaccounted() == []
        assert {"", "downtime", "deadline", "dst_gap"} <= await journey.reasons()
    finally:
        await rig.stop()


@pytest.fixture
def zone_folder(tmp_path, monkeypatch):
    """A folder of zone data that a test may change, as an update of the system does."""
    folder = tmp_path / "zoneinfo"
    folder.mkdir()
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(folder)])
    yield folder
    zoneinfo.reset_tzpath(before)
    _forget()


def _forget():
    """What a new process would not know."""
    zoneinfo.ZoneInfo.clear_cache()
    zone_of.cache_clear()
    zone_changes.fingerprint.cache_clear()


@pytest.fixture
async def restarted(store_url, tmp_path, zone_folder):
    """Give a function that starts an engine at an instant, with other rules for the zone."""
    rigs = []

    async def start(at, rules, **job):
        write_zone(zone_folder / "Moved", rules)
        _forget()
        if rigs:
            await rigs[-1].stop()
        rig = Rig(store_url, tmp_path, clock=ManualClock(at), retention=KEEP)
        rigs.append(rig)
        await rig.start()
        if job:
            await rig.job(timezone="Moved", target=NOBODY, **job)
            made = NewEvent(
                kind="job.created", severity=1, at=rig.clock.now_us(), message="", actor=""
            )
            await rig.store.write(insert_events, [made])
        return rig

    yield start
    for rig in rigs:
        await rig.stop()


async def _settle(rig):
    rig.clock.advance(31)
    await TimeTravel(rig, rig.clock, 0).settle()


async def _planned(rig):
    return (await rig.store.read(_jobs))[0]


async def _ledger(rig):
    rows = await rig.store.read(_fires)
    return [(row.reason or "fired", row.nominal_at) for row in rows]


def _at(hour, minute, day=1):
    return datetime(2026, 6, day, hour, minute, tzinfo=UTC)


def _us(*place):
    return int(_at(*place).timestamp() * 1_000_000)


async def test_new_rules_move_what_is_planned(restarted):
    rig = await restarted(_at(0, 0), WINTER, schedule=NIGHTLY)
    assert await _planned(rig) == (_us(1, 30), _us(1, 30))

    rig = await restarted(_at(0, 10), SUMMER)

    assert await _planned(rig) == (_us(0, 30), _us(0, 30))
    rig.clock.advance(timedelta(hours=3))
    await _settle(rig)
    assert await _ledger(rig) == [("fired", _us(0, 30))]


async def test_what_the_new_rules_put_into_the_downtime_is_caught_up(restarted):
    await restarted(_at(0, 0), WINTER, schedule=NIGHTLY)

    rig = await restarted(_at(0, 50), SUMMER)
    await _settle(rig)

    assert await _ledger(rig) == [("fired", _us(0, 30))]
    assert await _planned(rig) == (_us(0, 30, 2), _us(0, 30, 2))


async def test_the_same_rules_change_nothing(restarted):
    await restarted(_at(0, 0), WINTER, schedule=NIGHTLY)

    rig = await restarted(_at(0, 50), WINTER)

    assert await zone_changes.follow_zone_data(rig.store, rig.clock) == 0
    assert await _planned(rig) == (_us(1, 30), _us(1, 30))


async def test_an_instant_that_fired_stays_fired_under_new_rules(restarted):
    rig = await restarted(_at(0, 0), SUMMER, schedule=NIGHTLY)
    rig.clock.advance(timedelta(minutes=40))
    await _settle(rig)
    assert await _ledger(rig) == [("fired", _us(0, 30))]

    # And back: the old rules' next one is the first again that is not accounted for.
    rig = await restarted(_at(0, 50), WINTER)
    rig = await restarted(_at(0, 55), SUMMER)
    await _settle(rig)

    assert await _ledger(rig) == [("fired", _us(0, 30))]
    assert await _planned(rig) == (_us(0, 30, 2), _us(0, 30, 2))


def _fires(tx):
    return tx.conn.execute(sa.select(fires).order_by(fires.c.nominal_at)).all()


def _jobs(tx):
    return [
        tuple(row)
        for row in tx.conn.execute(sa.text("SELECT next_nominal_at, next_fire_at FROM jobs"))
    ]
