"""Failure 14: the power goes; whatever anybody was told before is on the disk that is left."""

from pathlib import Path

from tests.system.power.cutting import cuts
from tests.system.power.recording import Recording, build
from tests.system.power.replay import Mode
from tests.system.power.rounds import (
    broken_folders,
    broken_journals,
    go_on,
    record_journal,
    record_load,
)

SEED = 1
CUTS = 10


async def test_what_the_journal_told_is_durable(recording: Recording) -> None:
    await record_journal(recording)
    assert broken_journals(recording, CUTS, SEED) == []


async def test_what_clients_and_controller_were_told_is_durable_and_goes_on(
    recording: Recording, tmp_path: Path
) -> None:
    await record_load(recording)
    assert broken_folders(recording, CUTS, SEED) == []
    for cut in cuts(recording, 1, SEED):
        if cut.mode is Mode.STRICT:
            assert await go_on(cut, tmp_path / "goes-on") == []


async def test_a_build_that_skips_its_fsyncs_is_caught(
    recording: Recording, tmp_path: Path
) -> None:
    broken = Recording(
        library=build(tmp_path, "-DPOWER_SKIP"), root=recording.root, log=recording.log
    )
    await record_journal(broken)
    assert broken_journals(broken, CUTS, SEED) != []
