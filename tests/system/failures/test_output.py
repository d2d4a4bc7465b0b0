"""Failures 12 and 23 to 25, a tenth of the sizes: much output, odd output, readers that stall."""

import hashlib
import sys
from contextlib import AsyncExitStack

import pytest

from tests.system.failures.jobs import ended, fire, outcome, read, wrote
from tests.system.rig import processes
from tests.system.rig.cluster import Cluster

MB = 1_000_000
MIB = 1 << 20
GB = 1_000 * MB
READERS = 10
# What a controller may hold beyond what it had: bounded buffers, never the output itself.
CONTROLLER_ROOM = 150 * MIB
AGENT_LIMIT = 150 * MIB
CAP = 8 * MIB


def memory_of(cluster: Cluster) -> dict[str, int]:
    """The most that each process ever had resident."""
    assert cluster.controller is not None
    found = {
        "controller": cluster.controller.pid,
        "agent": cluster.agents["one"].pid,
        "launcher": cluster.launchers()[0],
    }
    return {name: processes.peak_rss_bytes(pid) for name, pid in found.items()}


async def test_ten_stalled_readers_on_much_output_slow_nobody_and_cost_little(
    embedded: Cluster,
) -> None:
    size = 100 * MB
    before = memory_of(embedded)["controller"]
    go = embedded.folder / "go"
    command = f"echo; until [ -e {go} ]; do sleep 0.05; done; yes | head -c {size}"
    run_id = await fire(embedded, "flood", command, output_cap_bytes=200 * MIB)
    await wrote(embedded, run_id, 1)
    client = embedded.client
    async with AsyncExitStack() as stack:
        for _ in range(READERS):
            # Opened, one frame read, and then no more.
            watch = client.runs.watch(runs=[run_id], include_output=True)
            stalled = await stack.enter_async_context(watch)
            await anext(stalled)
        go.touch()
        run = await ended(embedded, run_id)
        after = memory_of(embedded)["controller"]
    output = await read(embedded, run.executions[0].id)
    assert outcome(run) == ("succeeded", "")
    assert (output.size, output.gaps) == (size + 1, 0)
    assert after - before < CONTROLLER_ROOM


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
