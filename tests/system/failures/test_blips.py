"""Failures 10 and 11, small: the network between agent and controller goes away for a while.

`tests/chaos/test_partitions.py` has them at their length, between clients and controller too.
"""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.tcp_proxy import TcpProxy
from tests.system.checker.history import stream_of
from tests.system.failures.jobs import ended, fire, outcome, read, wrote
from tests.system.rig.cluster import Cluster, cluster
from tests.system.rig.tasks import printing

SIZE = 3_000_000
PARTS = 45
BLIP_SECS = 3.0


def cut(proxy: TcpProxy) -> None:
    proxy.refuse()


def hold(proxy: TcpProxy) -> None:
    proxy.black_hole()


def half(proxy: TcpProxy) -> None:
    proxy.half_close()


def up_only(proxy: TcpProxy) -> None:
    proxy.deafen_clients()


def down_only(proxy: TcpProxy) -> None:
    proxy.deafen_server()


@pytest.mark.parametrize("fault", [cut, hold, half, up_only, down_only])
async def test_a_blip_loses_no_run_and_no_byte(
    tmp_path: Path, fault: Callable[[TcpProxy], None]
) -> None:
    async with cluster(tmp_path, "") as made:
        await blip(made, fault)


async def blip(made: Cluster, fault: Callable[[TcpProxy], None]) -> None:
    await made.start_controller()
    async with TcpProxy(made.address) as proxy:
        await made.start_agent(address=proxy.address)
        run_id = await fire(made, "long", printing(SIZE, parts=PARTS, pause_secs=0.1))
        short = await fire(made, "short", "sleep 1")
        await wrote(made, run_id, SIZE // PARTS)
        fault(proxy)
        # The fault itself: so long it lasts, while the tasks go on.
        await asyncio.sleep(BLIP_SECS)
        proxy.heal()
        run, other = await ended(made, run_id), await ended(made, short)
        (execution,) = run.executions
        output = await read(made, execution.id)
    expected = hashlib.sha256(stream_of(execution.id, SIZE)).hexdigest()
    assert (outcome(run), outcome(other)) == (("succeeded", ""), ("succeeded", ""))
    assert len(other.executions) == 1
    assert (output.sha256, output.gaps) == (expected, 0)


async def test_a_slow_network_that_slices_everything_loses_no_byte(made: Cluster) -> None:
    await made.start_controller()
    async with TcpProxy(made.address) as proxy:
        proxy.slice_bytes, proxy.delay_secs = 700, 0.005
        await made.start_agent(address=proxy.address)
        run_id = await fire(made, "sliced", printing(SIZE // 4))
        run = await ended(made, run_id)
        output = await read(made, run.executions[0].id)
    expected = hashlib.sha256(stream_of(run.executions[0].id, SIZE // 4)).hexdigest()
    assert (output.sha256, output.gaps) == (expected, 0)
