"""`kronforce backup` and `restore` as processes, and a cluster that goes on elsewhere."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from tests.system.checker.history import History
from tests.system.rig import processes
from tests.system.rig.cluster import Cluster

_FENCE = re.compile(r"fences go on after (\d+)")


@dataclass(frozen=True, kw_only=True)
class Said:
    """How a command ended, and all it wrote."""

    code: int
    text: str

    @property
    def fence(self) -> int:
        """The last fence that may be of the forgotten history."""
        found = _FENCE.search(self.text)
        assert found is not None, self.text
        return int(found[1])


async def command(cluster: Cluster, *words: str, failpoint: str = "") -> Said:
    """One command at the cluster's data folder."""
    log = cluster.folder / "command.log"
    log.unlink(missing_ok=True)
    where = ["--data-dir", str(cluster.data_dir), "--db", cluster.db]
    environ = cluster.environment(failpoint)
    process = await processes.start(words[0], [*words, *where], environ, log)
    code = await process.ended
    return Said(code=code, text=await asyncio.to_thread(log.read_text))


async def backup(cluster: Cluster) -> Path:
    target = cluster.folder / "backup.tar.gz"
    said = await command(cluster, "backup", "--out", str(target), "--verify")
    assert said.code == 0, said.text
    return target


async def restore(cluster: Cluster, source: Path, *flags: str) -> Said:
    said = await command(cluster, "restore", str(source), *flags)
    assert said.code == 0, said.text
    return said


def move_elsewhere(cluster: Cluster, db: str) -> None:
    """The next controller has another folder and another database, at the same address."""
    cluster.data_dir = cluster.folder / "elsewhere"
    cluster.db = db or str(cluster.data_dir / "kronforce.db")


def without_the_forgotten(history: History) -> History:
    """The history as the restored store knows it.

    What was done under fences that it has forgotten was done for a history that is no more; of
    what it has adopted, output that was acknowledged in that time is an explicit gap.
    """
    current = {each.id: each.fence for run in history.runs for each in run.attempts}
    effects = tuple(
        each for each in history.effects if current.get(each.execution_id) == each.fence
    )
    return replace(history, effects=effects, launcher_killed=True)


def integrity(file: Path) -> str:
    with closing(sqlite3.connect(file)) as database:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])
