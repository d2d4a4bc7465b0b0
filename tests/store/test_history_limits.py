"""Which jobs say how many runs are kept: found without decoding all the others."""

import pytest

from kronforce.store.open_work import jobs_with_history_limit
from tests.store.rig import ManualRig


@pytest.fixture
async def rig(store_url, tmp_path):
    rig = ManualRig(store_url, tmp_path)
    await rig.start()
    yield rig
    await rig.stop()


async def test_jobs_that_limit_their_history_are_found_among_those_that_do_not(rig):
    await rig.job("all")
    # Looks like the field's tag, in a text.
    await rig.job("alike", labels={"text": "\u0004\u0038\u0004"})
    await rig.job("few", max_run_history=2)
    await rig.job("many", max_run_history=1_000_000)
    found = await rig.store.read(jobs_with_history_limit)
    assert sorted(keep for _, keep in found) == [2, 1_000_000]
