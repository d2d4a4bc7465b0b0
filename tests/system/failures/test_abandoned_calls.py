"""Calls and streams whose callers left: nothing of them stays, and others are served meanwhile.

`tests/chaos/test_abandoned_calls.py` has ten thousand of each kind.
"""

from dataclasses import replace
from pathlib import Path

from tests.system.failures.abandoning import WAYS, Way, calls_reset
from tests.system.rig.cluster import Cluster, cluster
from tests.system.rig.footprint import WITH_METRICS, Footprint, footprint, settled

# After it, what is made once and kept is there: readers of the store, caches.
FIRST = 200
CALLS = 500
# One in so many is counted as a call that has ended: what never sends its request is none, and
# what is reset at once need not have come so far.
SEEN = dict.fromkeys(WAYS, 4) | {calls_reset: 250}
# What a stored number, a log line or a cache entry may cost: an abandoned stream costs 40 KiB.
BYTES_PER_CALL = 2_048
# What the allocator gives and takes from one look to the next.
NOISE_BYTES = 12 << 20


async def leaves_nothing(
    made: Cluster, way: Way, calls: int, quiet: Footprint
) -> tuple[Footprint, Footprint]:
    """Abandon so many calls; what the controller held before and after."""
    before = await settled(made, quiet)
    await way(made, calls)
    # Somebody else is served while all that is cleared away.
    await made.client.system.status()
    # One of its own tasks may have been between two lives then: what counts is the quiet state.
    now_quiet = replace(quiet, ended=before.ended)
    return before, await settled(made, now_quiet, ended=calls // SEEN[way])


async def started(made: Cluster) -> Footprint:
    """A controller that has had some of each kind; what it holds when they are gone."""
    await made.start_controller(**WITH_METRICS, KRONFORCE_BIND="127.0.0.1:0")
    quiet = await footprint(made)
    assert (quiet.unary, quiet.streams) == (0, 0)
    for way in WAYS:
        await way(made, FIRST)
    # The test's own connection is there from the first call on.
    return replace(quiet, sockets=quiet.sockets + 1)


async def test_nothing_is_left_of_calls_whose_caller_left(tmp_path: Path) -> None:
    async with cluster(tmp_path, "") as made:
        quiet = await started(made)
        for way in WAYS:
            print(way.__name__)
            before, after = await leaves_nothing(made, way, CALLS, quiet)

            grown = after.rss_bytes - before.rss_bytes
            assert grown < NOISE_BYTES + CALLS * BYTES_PER_CALL, way.__name__
        assert made.complaints() == []
