"""What a provocation plays on: a cluster of some build, its jobs, and the history in the making."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.system.checker.history import History, Killed, Policy
from tests.system.rig.cluster import Cluster, until
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes

# For tasks of ended attempts to be gone.
QUIET_SECS = 5.0


class Stage:
    """`patience_secs`: how long work may take to end; a broken build may never end it."""

    def __init__(self, cluster: Cluster, patience_secs: float) -> None:
        self.cluster = cluster
        self.notes = Notes(cluster.folder / "notes")
        self.recorder = Recorder(cluster, self.notes, patience_secs)
        self.patience_secs = patience_secs

    async def job(
        self, name: str, work: str, policy: Policy | None = None, **settings: Any
    ) -> None:
        """Define a shell job whose attempts note their start and end."""
        definition = {
            "name": name,
            "target": {"type": "any"},
            "task": {"type": "shell", "command": self.notes.command(work)},
            **settings,
        }
        await self.cluster.client.jobs.create(definition)
        self.recorder.policies[name] = policy or Policy()

    async def until_started(self, count: int = 1) -> None:
        """Until so many attempts have noted their start."""

        async def started() -> bool:
            return sum(each.what == "start" for each in self.notes.effects()) >= count

        await until(started, f"{count} tasks to start")

    def kill_launchers(self) -> None:
        for pid in self.cluster.launchers():
            os.kill(pid, signal.SIGKILL)

    async def history(self, killed: tuple[Killed, ...]) -> History:
        """What happened, once all work has ended, or should have."""
        with contextlib.suppress(AssertionError):  # the checker says what has not ended
            await self.recorder.settled(self.patience_secs)
        history = await self.recorder.history()
        return replace(history, killed=killed, left=await self._left())

    async def _left(self) -> tuple[str, ...]:
        async def quiet() -> bool:
            return not self.cluster.strays()

        with contextlib.suppress(AssertionError):
            await until(quiet, "tasks of ended attempts to be gone", QUIET_SECS)
        return tuple(_describe(pid) for pid in self.cluster.strays())


def _describe(pid: int) -> str:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        line = "gone meanwhile"
    return f"{pid} {line}"[:200]
