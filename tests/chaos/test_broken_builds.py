"""Every deliberately broken build is caught, and a sound one under each provocation is not.

That the store is not synced shows only where the power goes: there the recorder of
`tests/system/power` judges instead of the checker.
"""

from pathlib import Path

import pytest

from tests.system.broken.builds import BUILDS, Broken
from tests.system.broken.edits import Edit
from tests.system.broken.edits import build as build_with
from tests.system.broken.provocations import PROVOCATIONS, provoke
from tests.system.broken.test_broken_builds import PATIENCE_SECS
from tests.system.checker.rules import judge
from tests.system.power.recording import NoCompiler, Recording, build
from tests.system.power.rounds import broken_folders, record_load

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

SOUND_PATIENCE_SECS = 60.0
CUTS, CUTS_SEED = 10, 1
UNSYNCED = Edit(
    file="kronforce/store/database.py", old='"synchronous = FULL"', new='"synchronous = OFF"'
)


async def caught(folder: Path, db: str, broken: Broken) -> None:
    history = await provoke(folder, db, broken.provocation, broken.edits, PATIENCE_SECS)
    findings = judge(history)
    assert broken.rule in {finding[1] for finding in findings}, findings


@pytest.mark.parametrize("broken", BUILDS, ids=str)
async def test_a_broken_build_is_caught(tmp_path: Path, broken: Broken) -> None:
    await caught(tmp_path, "", broken)


@pytest.mark.parametrize("broken", [each for each in BUILDS if each.both], ids=str)
async def test_a_broken_build_is_caught_on_postgresql(
    tmp_path: Path, broken: Broken, postgres_database_url: str
) -> None:
    await caught(tmp_path, postgres_database_url, broken)


@pytest.mark.parametrize("name", PROVOCATIONS)
async def test_a_sound_build_passes_each_provocation(tmp_path: Path, name: str) -> None:
    history = await provoke(tmp_path, "", name, (), SOUND_PATIENCE_SECS)
    assert judge(history) == []


@pytest.mark.parametrize("name", sorted({each.provocation for each in BUILDS if each.both}))
async def test_a_sound_build_passes_on_postgresql(
    tmp_path: Path, name: str, postgres_database_url: str
) -> None:
    history = await provoke(tmp_path, postgres_database_url, name, (), SOUND_PATIENCE_SECS)
    assert judge(history) == []


async def test_a_store_that_is_not_synced_is_caught(tmp_path: Path) -> None:
    root = tmp_path / "recorded"
    root.mkdir()
    try:
        library = build(tmp_path)
    except NoCompiler as reason:
        pytest.skip(str(reason))
    recording = Recording(library=library, root=root, log=tmp_path / "power.log")
    await record_load(recording, build_with(tmp_path / "code", (UNSYNCED,)))
    assert broken_folders(recording, CUTS, CUTS_SEED) != []
