"""Failure 13 for retention: what finds no room is forgotten once there is a little."""

import pytest

from kronforce.core.names import DEFAULT_GROUP
from kronforce.errors import StoreFull
from kronforce.store.paging import PageRequest
from kronforce.store.runs import list_runs
from tests.bench import retention_fill
from tests.store.rig import ADMIN, Rig
from tests.system.rig.small_disk import MIB, mounted

DISK_BYTES = 64 * MIB
# More than SQLite's log takes until it is begun anew (`wal_autocheckpoint`: 16 MiB).
LITTLE = 24 * MIB
OLD = 3_000


async def test_retention_on_a_full_disk_loses_nothing_and_goes_on_with_a_little_room(tmp_path):
    with mounted(tmp_path / "store", DISK_BYTES) as disk:
        url = str(disk.folder / "k.db")
        retention_fill.fill(url, OLD)
        rig = Rig(url, tmp_path)
        await rig.start()
        try:
            disk.fill()
            with pytest.raises(StoreFull):
                await rig.engine.retention.round()
            # Whatever was forgotten before the last page went is gone whole.
            assert await left(rig)
            disk.empty()
            disk.fill_to(LITTLE)

            await rig.engine.retention.round()

            assert not await left(rig)
            await rig.job()
            await rig.run()
            assert await left(rig)
        finally:
            disk.empty()
            await rig.stop()


async def left(rig):
    """Any run that is still there."""
    page = PageRequest(size=1)
    return (await rig.store.read(list_runs, ADMIN, group=DEFAULT_GROUP, page=page)).items
