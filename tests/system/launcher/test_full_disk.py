"""Failure 13 for the spool: what finds no room is an explicit gap, and the launcher lives on."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.launcher.rig import Rig
from tests.system.rig.small_disk import MIB, Disk, mounted

DISK_BYTES = 4 * MIB
# Several times what an attempt may hold in memory.
OUTPUT_BYTES = 8 * MIB


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[tuple[Rig, Disk]]:
    """Give a launcher whose spool is on a disk of 4 MiB, for an agent without a controller."""
    with mounted(tmp_path / "data", DISK_BYTES) as disk:
        rig = await Rig(tmp_path / "data").start()
        rig.client.offline(True)
        rig.auto_credit = False
        yield rig, disk
        await rig.shut_down()


async def test_output_that_the_disk_has_no_room_for_is_a_gap_and_the_rest_is_whole(
    small: tuple[Rig, Disk],
) -> None:
    rig, disk = small
    wordy = rig.spawn(f"yes abcdefg | head -c {OUTPUT_BYTES}; echo end >&2")
    over = await rig.exited(wordy)
    assert over.exit_code == 0
    disk.empty()
    rig.client.offline(False)
    rig.auto_credit = True
    rig.client.credit(wordy, 1, 16 * MIB)
    await rig.complete(wordy)
    text = rig.output(wordy)
    # The rig has put it together by offset: nothing is missing without being said.
    gaps = [int(size) for size in re.findall(rb"<(\d+) missing>", text)]
    kept = re.sub(rb"<\d+ missing>", b"", text)
    assert sum(gaps) > MIB
    assert len(kept) > MIB
    assert len(kept) + sum(gaps) == OUTPUT_BYTES
    # Nobody has to restart anything.
    assert (await rig.run("echo again")).exit_code == 0
