"""Failures 12 and 23 to 25, a tenth of the sizes: much output, odd output, readers that stall."""

import hashlib
import sys
from pathlib import Path

import pytest

from tests.system.failures.jobs import ended, fire, outcome, read, wrote
from tests.system.failures.stalled import stalled_readers
from tests.system.rig import processes
from tests.system.rig.cluster import Cluster, cluster

MB = 1_000_000
MIB = 1 << 20
GB = 1_000 * MB
READERS = 10
# What a controller may hold beyond what it had: bounded buffers, never the output itself.
CONTROLLER_ROOM = 150 * MIB
AGENT_LIMIT = 150 * MIB
CAP = 8 * MIB
# A gigabyte past two hundred readers, on a machine that is busy with something else.
FLOOD_LIMIT_SECS = 600.0


def memory_of(cluster: Cluster) -> dict[str, int]:
    """The most that each process ever had resident."""
    assert cluster.controller is not None
    found = {
        "controller": cluster.controller.pid,
        "agent": cluster.agents["one"].pid,
        "launcher": cluster.launchers()[0],
    }
    return {name: processes.peak_rss_bytes(pid) for name, pid in found.items()}


async def test_stalled_readers_of_much_output_slow_nobody_and_cost_little(tmp_path: Path) -> None:
    async with cluster(tmp_path, "") as made:
        await made.start_controller(KRONFORCE_BIND="127.0.0.1:0")
        await made.start_agent()
        assert await cost_of_stalled(made, READERS, 100 * MB) < CONTROLLER_ROOM
        assert made.complaints() == []


async def cost_of_stalled(made: Cluster, readers: int, size: int) -> int:
    """The most that the controller took while so many stood still, of each kind of stream.

    The run ends meanwhile, and a reader that comes afterwards gets every byte.
    """
    before = memory_of(made)["controller"]
    go = made.folder / "go"
    command = f"echo; until [ -e {go} ]; do sleep 0.05; done; yes | head -c {size}"
    run_id = await fire(made, "flood", command, output_cap_bytes=2 * size)
    await wrote(made, run_id, 1)
    async with stalled_readers(made, run_id, readers):
        go.touch()
        run = await ended(made, run_id, FLOOD_LIMIT_SECS)
        after = memory_of(made)["controller"]
    output = await read(made, run.executions[0].id)
    assert outcome(run) == ("succeeded", "")
    assert (output.size, output.gaps) == (size + 1, 0)
    return after - before


@pytest.mark.timeout(110)
async def test_a_gigabyte_is_capped_with_its_head_its_tail_and_a_marked_gap(
    embedded: Cluster,
) -> None:
    command = f"echo first; yes | head -c {GB}; echo last"
    run_id = await fire(embedded, "gigabyte", command, output_cap_bytes=CAP)
    run = await ended(embedded, run_id, 100.0)
    output = await read(embedded, run.executions[0].id)
    memory = memory_of(embedded)
    assert outcome(run) == ("succeeded", "")
    assert output.size == GB + len("first\nlast\n")
    assert output.head.startswith(b"first\ny\n")
    assert output.tail.endswith(b"y\nlast\n")
    assert output.size - output.gaps <= CAP + 2 * MIB
    assert max(memory["agent"], memory["launcher"]) < AGENT_LIMIT


async def test_every_byte_value_comes_back_as_it_was_written(running: Cluster) -> None:
    everything = bytes(range(256)) * 4_000
    script = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 4000)"
    run = await ended(running, await fire(running, "binary", f"{sys.executable} -ISc '{script}'"))
    output = await read(running, run.executions[0].id)
    assert (output.sha256, output.gaps) == (hashlib.sha256(everything).hexdigest(), 0)


async def test_a_line_of_ten_megabytes_is_a_line_like_any_other(embedded: Cluster) -> None:
    size = 10 * MB
    command = f"head -c {size} /dev/zero | tr '\\0' x; echo"
    run = await ended(embedded, await fire(embedded, "line", command))
    output = await read(embedded, run.executions[0].id)
    assert output.sha256 == hashlib.sha256(b"x" * size + b"\n").hexdigest()
    assert output.gaps == 0


async def test_a_flood_does_not_hold_up_the_others(embedded: Cluster) -> None:
    flood = await fire(embedded, "flood", "yes", output_cap_bytes=CAP, kill_grace_secs=1)
    await wrote(embedded, flood, 10 * MB)
    short = await ended(embedded, await fire(embedded, "short", "echo hello"), 20.0)
    await embedded.client.runs.cancel(flood)
    run = await ended(embedded, flood, 30.0)
    assert outcome(short) == ("succeeded", "")
    assert outcome(run)[0] == "cancelled"
