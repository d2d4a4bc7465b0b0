"""Failure 14 at length: the power goes at some hundred moments of a recorded history."""

import os
from pathlib import Path

import pytest

from tests.system.power.conftest import recorder, recording  # noqa: F401 - fixtures
from tests.system.power.cutting import cuts
from tests.system.power.recording import Recording
from tests.system.power.rounds import (
    broken_folders,
    broken_journals,
    go_on,
    record_journal,
    record_load,
)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

CUTS = 250
# Of so many moments the system is started again on what is left.
STARTS = 8


@pytest.fixture
def seed() -> int:
    """Give the seed, told so that it can be given back."""
    found = int(os.environ.get("POWER_SEED", "1"))
    print(f"POWER_SEED={found}")
    return found


async def test_what_the_journal_told_is_durable(recording: Recording, seed: int) -> None:  # noqa: F811
    await record_journal(recording)
    assert broken_journals(recording, CUTS, seed) == []


async def test_what_anybody_was_told_is_durable_and_goes_on(
    recording: Recording,  # noqa: F811
    seed: int,
    tmp_path: Path,
) -> None:
    await record_load(recording)
    assert broken_folders(recording, CUTS, seed) == []
    broken = []
    for number, cut in enumerate(cuts(recording, STARTS, seed + 1)):
        if cut.values("job"):
            broken += await go_on(cut, tmp_path / f"goes-on-{number}")
    assert broken == []
