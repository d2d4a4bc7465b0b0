"""What a controller holds: calls and tasks as it says itself; memory, descriptors, threads as seen.

Memory comes back to the process's allocator, not always to the system: compare what it holds
after many rounds with what it held after the first.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.http_reader import ask
from tests.system.rig import processes
from tests.system.rig.cluster import Cluster, until

# Starts a listener for /metrics on a port of its own, for `start_controller`.
WITH_METRICS = {"KRONFORCE_METRICS_BIND": "127.0.0.1:0"}
# By itself glibc has eight arenas for each core and keeps in each the most that it ever had there,
# which would take hundreds of rounds to come to rest.
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}
SETTLE_SECS = 60.0
_GAUGE = re.compile(
    r"^kronforce_(calls_running|event_loop_tasks_running)(?:{kind=\"(\w+)\"})? (\S+)"
)


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """At one moment."""

    unary: int
    streams: int
    loop_tasks: int
    # Descriptors of connections; readers of the store open files as they are needed.
    sockets: int
    threads: int
    rss_bytes: int
    # Calls that have ended since its start.
    ended: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Everything that must come back to where it was."""
        return (self.unary, self.streams, self.loop_tasks, self.sockets)


async def footprint(cluster: Cluster) -> Footprint:
    """Now; what the controller says is at most a second old."""
    assert cluster.controller is not None
    gauges = await _gauges(cluster)
    process = Path(f"/proc/{cluster.controller.pid}")
    return Footprint(
        unary=gauges["unary"],
        streams=gauges["stream"],
        loop_tasks=gauges[""],
        sockets=sum(1 for each in (process / "fd").iterdir() if _is_socket(each)),
        threads=sum(1 for _ in (process / "task").iterdir()),
        rss_bytes=processes.rss_bytes(cluster.controller.pid),
        ended=gauges["ended"],
    )


async def settled(cluster: Cluster, before: Footprint, *, ended: int = 0) -> Footprint:
    """The footprint, once its counts are no more than they were, and so many calls have ended."""
    last = before

    async def back() -> Footprint | None:
        nonlocal last
        last = await footprint(cluster)
        less = all(now <= then for now, then in zip(last.counts, before.counts, strict=True))
        return last if less and last.ended >= before.ended + ended else None

    try:
        found = await until(back, "calls, tasks and connections to be gone", SETTLE_SECS)
    except AssertionError as late:
        raise AssertionError(f"{late}: {last}, and not {before}") from None
    assert found is not None
    return found


def _is_socket(descriptor: Path) -> bool:
    try:
        return os.readlink(descriptor).startswith("socket:")  # noqa: PTH115 - no path
    except OSError:
        return False


async def _gauges(cluster: Cluster) -> dict[str, int]:
    endpoint = json.loads((cluster.data_dir / "endpoint.json").read_text())
    port = int(endpoint["metrics"].rpartition(":")[2])
    async with ask(port, "/metrics") as answer:
        text = (await answer.body()).decode()
    lines = text.splitlines()
    found = {line[2] or "": int(float(line[3])) for line in filter(None, map(_GAUGE.match, lines))}
    ended = (line.split() for line in lines if line.startswith("kronforce_calls_total{"))
    return found | {"ended": sum(int(float(count)) for _, count in ended)}
