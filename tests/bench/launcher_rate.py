"""How many `sh -c true` a launcher starts and ends per second, and what a chatty task gets through.

Run by hand: `python tests/bench/launcher_rate.py [--runs 4000] [--in-flight 64]`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "agent"))

from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.client import LauncherClient

ENV = {"PATH": "/usr/bin:/bin"}
CREDIT = 65536


class Load:
    """Keeps so many attempts in flight until all have run."""

    def __init__(self, runs: int, in_flight: int, command: str) -> None:
        self.client: LauncherClient | None = None
        self.left = runs
        self.in_flight = in_flight
        self.command = command
        self.open = 0
        self.batches = 0
        self.bytes = 0
        self.together = 0
        self.done = asyncio.Event()
        self._number = 0
        self._last_output = ""
        self._acked: dict[str, int] = {}

    def start(self, client: LauncherClient) -> None:
        self.client = client
        self._fill()

    def on_events(self, events: Sequence[protocol.Event]) -> None:
        self.batches += 1
        seen = set()
        for event in events:
            if isinstance(event, protocol.Output):
                self._output(event)
                seen.add(event.execution_id)
            elif isinstance(event, protocol.Exited):
                self.together += event.execution_id in seen
                self._exited(event)
            elif isinstance(event, protocol.SpawnFailed):
                raise SystemExit(event.message)
        if self.client:
            self._fill()

    def _output(self, chunk: protocol.Output) -> None:
        assert self.client
        self.bytes += len(chunk.data)
        self.client.ack_output(chunk.execution_id, chunk.fence, chunk.seq)
        self.client.credit(chunk.execution_id, chunk.fence, len(chunk.data))

    def _exited(self, event: protocol.Exited) -> None:
        assert self.client
        assert event.exit_code == 0, event
        self.client.ack_exit(event.execution_id, event.fence)
        self.open -= 1
        if not self.left and not self.open:
            self.done.set()

    def _fill(self) -> None:
        assert self.client
        while self.left and self.open < self.in_flight:
            self.left -= 1
            self.open += 1
            self._number += 1
            self.client.spawn(
                protocol.Spawn(
                    execution_id=f"bench-{self.command[:8]}-{self._number}",
                    fence=self._number,
                    command=self.command,
                    env=ENV,
                    credit=1024 * 1024 if self.in_flight == 1 else CREDIT,
                )
            )


def cpu_of(pid: int) -> float:
    """User and system seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(data_dir: Path, what: str, runs: int, in_flight: int, command: str) -> None:
    """Run one load on the launcher of this folder and print it."""
    load = Load(runs, in_flight, command)
    client = await LauncherClient.start_or_attach(data_dir, load.on_events)
    own, theirs, start = time.process_time(), cpu_of(client.pid), time.perf_counter()
    load.start(client)
    await load.done.wait()
    took = time.perf_counter() - start
    print(
        f"{what}: {runs / took:,.0f}/s, {load.bytes / took / 1e6:,.1f} MB/s; per run: "
        f"launcher {(cpu_of(client.pid) - theirs) / runs * 1e6:.0f} µs, "
        f"client {(time.process_time() - own) / runs * 1e6:.0f} µs of CPU; "
        f"{load.batches} batches, output with its exit {load.together / runs:.0%}"
    )
    client.close()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--in-flight", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        await measure(place, "sh -c true", options.runs, options.in_flight, "true")
        await measure(place, "sh -c 'echo hi'", options.runs, options.in_flight, "echo hi")
        await measure(place, "one at a time", 500, 1, "echo hi ")
        await measure(place, "one chatty task", 1, 1, "head -c 500M /dev/zero")
        client = await LauncherClient.start_or_attach(place, lambda _: None)
        client.shutdown()
        await client.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
