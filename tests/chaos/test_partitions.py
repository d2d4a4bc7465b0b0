"""Failures 10 and 11 at their length: blips of 30 s, and a partition that outlives the lease.

Clients and agents reach the controller through proxies of their own, and either, or both, are cut
off. `tests/store/test_partitions.py` has the lease by the engine's clock.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kronforce.engine.agents.leases import LEASE_SECS
from kronforce.v1.run_pb2 import Run
from kronforce_client import AsyncClient
from tests.fakes.tcp_proxy import TcpProxy
from tests.system.checker.history import stream_of
from tests.system.failures.jobs import ended, fire, outcome, read, wrote
from tests.system.failures.test_blips import cut, down_only, half, hold, up_only
from tests.system.rig.cluster import ADMIN_KEY, Cluster, cluster, patient, until
from tests.system.rig.tasks import printing

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

BLIP_SECS = 30.0
# The lease and the five seconds after it in which a partition must show.
SHOWN_SECS = LEASE_SECS + 5
AWAY_SECS = SHOWN_SECS + 15.0
SIZE = 6_000_000
# Longer than a blip, and still at it when the network is back.
PARTS, PAUSE_SECS = 400, 0.1


def strand(proxy: TcpProxy) -> None:
    """What was on its way comes late, behind what a new connection brought."""
    proxy.strand()


FAULTS = (cut, hold, half, up_only, down_only, strand)


async def follow(address: str, run_id: str) -> bytes:
    """All of a run's output as a watcher gets it, whatever becomes of its connections."""
    got = bytearray()
    async with (
        AsyncClient(address, ADMIN_KEY) as client,
        client.runs.watch(runs=[run_id], include_output=True) as updates,
    ):
        async for update in updates:
            if update.WhichOneof("update") == "output":
                chunk = update.output.chunk
                assert chunk.offset == len(got), "a silent gap, or bytes twice"
                got += chunk.data
    return bytes(got)


async def begun(made: Cluster, proxy: TcpProxy) -> str:
    await made.start_agent(address=proxy.address)
    run_id = await fire(made, "long", printing(SIZE, parts=PARTS, pause_secs=PAUSE_SECS))
    await wrote(made, run_id, SIZE // PARTS)
    return run_id


async def nothing_is_lost(made: Cluster, run: Run) -> bytes:
    (execution,) = run.executions
    output = await read(made, execution.id)
    expected = stream_of(execution.id, SIZE)
    assert outcome(run) == ("succeeded", "")
    assert (output.sha256, output.gaps) == (hashlib.sha256(expected).hexdigest(), 0)
    return expected


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_blip_of_30_s_between_all_of_them_loses_nothing(
    tmp_path: Path, fault: Callable[[TcpProxy], None]
) -> None:
    async with cluster(tmp_path, "") as made:
        await made.start_controller()
        async with TcpProxy(made.address) as agents, TcpProxy(made.address) as clients:
            run_id = await begun(made, agents)
            following = asyncio.ensure_future(follow(clients.address, run_id))
            await until(patient(lambda: accepted(clients)), "the watcher to be there")
            fault(agents)
            fault(clients)
            # The fault itself: so long it lasts.
            await asyncio.sleep(BLIP_SECS)
            agents.heal()
            clients.heal()
            run = await ended(made, run_id)
            followed = await asyncio.wait_for(following, 120.0)
        assert followed == await nothing_is_lost(made, run)
        assert made.complaints() == []


async def accepted(proxy: TcpProxy) -> bool:
    return proxy.accepted > 0


@pytest.mark.parametrize("fault", [hold, up_only, down_only])
async def test_a_partition_shows_within_the_lease_and_five_seconds_and_its_task_goes_on(
    tmp_path: Path, fault: Callable[[TcpProxy], None]
) -> None:
    async with cluster(tmp_path, "") as made:
        await made.start_controller()
        async with TcpProxy(made.address) as proxy:
            run_id = await begun(made, proxy)
            began = time.time()
            fault(proxy)
            await until(lambda: unreachable(made, run_id), "the partition to show", AWAY_SECS)
            agent = await made.client.agents.get("one")
            # The fault itself goes on: it was shown, and the task does not mind.
            await asyncio.sleep(AWAY_SECS - SHOWN_SECS)
            proxy.heal()
            run = await ended(made, run_id)
        # By the instant that the controller noted itself.
        assert agent.disconnected_at.ToMicroseconds() / 1e6 - began <= SHOWN_SECS
        await nothing_is_lost(made, run)
        assert made.complaints() == []


async def unreachable(made: Cluster, run_id: str) -> bool:
    run = await made.client.runs.get(run_id)
    return run.executions[-1].state_reason == "agent_unreachable"
