"""Ten thousand calls and streams of each kind are abandoned, and hostile frames come for long.

What the controller holds afterwards is what it held before; its memory comes to rest: of the
rounds the second half adds next to nothing to what the first took.
"""

from pathlib import Path

import pytest

from tests.system.failures.abandoning import WAYS, Way
from tests.system.failures.test_abandoned_calls import leaves_nothing, started
from tests.system.failures.test_hostile_http2 import ATTACKS, send
from tests.system.rig.cluster import Cluster, cluster
from tests.system.rig.footprint import ONE_ARENA, WITH_METRICS, footprint, settled

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

ROUNDS = 10
CALLS = 1_000
ATTACK_ROUNDS = 40
# What the allocator takes beyond what it had, from one half to the other: 3 KiB a call at most.
GROWN_BYTES = 16 << 20
# What one attack takes for a moment, 50 MiB and on a busy machine 75, may come in the second half
# alone, or lie beside what another took.
GROWN_BY_ATTACKS = 128 << 20


def second_half(held: list[int]) -> int:
    """By how much the most that was held in the second half is above that of the first."""
    middle = len(held) // 2
    return max(held[middle:]) - max(held[:middle])


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_ten_thousand_abandoned_calls_leave_nothing(tmp_path: Path, way: Way) -> None:
    async with cluster(tmp_path, "") as made:
        quiet = await started(made)
        held = [(await leaves_nothing(made, way, CALLS, quiet))[1].rss_bytes for _ in range(ROUNDS)]

        assert second_half(held) < GROWN_BYTES, held
        assert made.complaints() == []


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_hostile_frames_for_long_cost_memory_that_comes_to_rest(
    tmp_path: Path, attack
) -> None:
    async with cluster(tmp_path, "") as made:
        await made.start_controller(**WITH_METRICS, **ONE_ARENA)
        held = [await after_attack(made, attack) for _ in range(ATTACK_ROUNDS)]

        assert second_half(held) < GROWN_BY_ATTACKS, held
        assert made.complaints() == []


async def after_attack(made: Cluster, attack) -> int:
    """What is resident when nothing of it is left."""
    await made.client.system.status()
    before = await footprint(made)
    await send(made.address, attack())
    return (await settled(made, before)).rss_bytes
