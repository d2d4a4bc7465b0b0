"""Every zone that changes its clocks from 2020 to 2037, three days around each change.

Against a walk through every minute (and every second of those that fire) there may be no
difference at all. Against cronsim the explained ones are those of `cronsim_steps_over`; what it
reads in a day field is compared in `tests/unit/core/test_cron.py`.
"""

import random
from zoneinfo import ZoneInfo, available_timezones

import pytest

from kronforce.core.schedules.offsets import stretch_at
from kronforce.core.schedules.zones import DstRule
from tests.oracles.comparing import RULES, Around
from tests.oracles.cron_walk import random_line
from tests.oracles.zone_walk import Change, changes

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

FIRST, LAST = 2020, 2037
LINES = 2
# Links would only repeat what their zones do; `posix` and `right` are other forms of the same.
AREAS = sorted({name.partition("/")[0] for name in available_timezones()} - {"localtime"})


def zones_of(area: str) -> list[ZoneInfo]:
    names = [name for name in available_timezones() if name.partition("/")[0] == area]
    return [ZoneInfo(name) for name in sorted(names)]


@pytest.mark.parametrize("area", AREAS)
def test_no_fire_differs_around_any_change_of_clocks(area: str) -> None:
    rng = random.Random(area)
    found: list[str] = []
    for zone in zones_of(area):
        for change in changes(zone, FIRST, LAST):
            found += compared(Around(zone, change), rng)
            found += missed(zone, change)

    assert found == []


def compared(around: Around, rng: random.Random) -> list[str]:
    found: list[str] = []
    for _ in range(LINES):
        line, rule = random_line(rng), rng.choice(RULES)
        found += around.differences(line, rule) + around.cronsim_differences(line)
    return found + around.differences("0 30 2 * * *", DstRule())


def missed(zone: ZoneInfo, change: Change) -> list[str]:
    """Whether the stretches that schedules are worked out from know of the change."""
    stretch = stretch_at(zone, change.at.replace(tzinfo=None))
    known = (stretch.begin, stretch.before, stretch.offset)
    wanted = (change.at.replace(tzinfo=None), change.before, change.after)
    return [] if known == wanted else [f"{zone}: {stretch} is not {change}"]
