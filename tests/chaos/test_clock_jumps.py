"""Ten thousand jumps of the wall clock, forward and back: failures 17 and 18 of the promises."""

from pathlib import Path

import pytest

from kronforce.clock import ManualClock
from kronforce.store.database import open_database
from kronforce.store.migrate import migrate
from tests.store.rig import Rig
from tests.store.time_travel import KEEP, START, TimeTravel

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

# Journeys of their own, so that one that went wrong can be gone again.
JOURNEYS = 10
JUMPS = 1_000


@pytest.mark.parametrize("seed", range(JOURNEYS))
async def test_no_instant_fires_twice_and_none_is_lost(seed: int, tmp_path: Path) -> None:
    url = str(tmp_path / "kf.db")
    database = open_database(url)
    migrate(database)
    database.close()
    clock = ManualClock(START)
    rig = Rig(url, tmp_path, clock=clock, retention=KEEP)
    await rig.start()
    try:
        journey = TimeTravel(rig, clock, seed)
        await journey.prepare()
        await journey.travel(JUMPS)

        assert await journey.twice() == []
        assert await journey.unaccounted() == []
    finally:
        await rig.stop()
