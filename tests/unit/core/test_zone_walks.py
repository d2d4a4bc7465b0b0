"""A sample of `tests/chaos/test_all_zones.py`: changes of every kind, random lines, every rule."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from kronforce.core.schedules.cron import parse_cron
from kronforce.core.schedules.zones import DstFold, DstGap, DstRule, count_fires
from tests.oracles.comparing import RULES, Around
from tests.oracles.cron_walk import random_line, read
from tests.oracles.zone_walk import Clocks, changes, walk, watch

SAMPLE = {
    "Europe/Berlin": 2026,
    "America/New_York": 2027,
    # At midnight.
    "America/Havana": 2028,
    "Asia/Beirut": 2026,
    # Half an hour; two hours; three at once, back and forth.
    "Australia/Lord_Howe": 2029,
    "Antarctica/Troll": 2030,
    "Antarctica/Casey": 2022,
    # Back in spring, for a month.
    "Africa/Casablanca": 2031,
    "Europe/Dublin": 2032,
    # Across a date.
    "America/Nuuk": 2024,
    "Asia/Gaza": 2025,
    "America/Santiago": 2034,
}
LINES = 5
BERLIN = ZoneInfo("Europe/Berlin")
BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("name", "year"), SAMPLE.items(), ids=SAMPLE)
def test_no_fire_differs_around_a_change_of_clocks(name: str, year: int) -> None:
    zone, rng = ZoneInfo(name), random.Random(name)
    found: list[str] = []
    for change in changes(zone, year, year)[:4]:
        around = Around(zone, change)
        for _ in range(LINES):
            line = random_line(rng)
            found += around.differences(line, rng.choice(RULES))
            found += around.cronsim_differences(line)

    assert found == []


def test_a_zone_that_gave_up_a_day_agrees_as_well() -> None:
    zone, rng = ZoneInfo("Pacific/Apia"), random.Random(7)
    [change] = [each for each in changes(zone, 2011, 2011) if each.at.month == 12]
    around = Around(zone, change)

    found: list[str] = []
    for rule in RULES * 4:
        found += around.differences(random_line(rng), rule)

    assert found == []


@pytest.fixture(scope="module")
def berlin() -> Clocks:
    """Every minute of the year, looked at once for all rules."""
    return watch(BERLIN, BEGIN, END)


@pytest.mark.parametrize("fold", list(DstFold))
@pytest.mark.parametrize("gap", list(DstGap))
def test_a_year_of_fires_is_counted_as_it_is_walked(
    berlin: Clocks, gap: DstGap, fold: DstFold
) -> None:
    line, tick = "0 0,30 1-3 * * *", timedelta(microseconds=1)

    fires, _ = walk(read(line), berlin, gap=gap.name.lower(), fold=fold.name.lower())

    rule = DstRule(gap=gap, fold=fold)
    assert count_fires(parse_cron(line), BEGIN - tick, END - tick, BERLIN, rule) == len(fires)
