"""Failure 13: a data folder on a disk that gets full; nothing that was acknowledged is lost."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kronforce_client import ClientError, Overloaded
from tests.system.checker.history import Policy
from tests.system.checker.rules import judge
from tests.system.failures.jobs import ended, fire, outcome, shell
from tests.system.rig.cluster import Cluster, cluster, until
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes

MIB = 1 << 20
DISK_BYTES = 64 * MIB
RESERVE_BYTES = 24 * MIB


class Disk:
    """A small file system that a test fills and empties."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill_to(self, free: int) -> None:
        """Leave about so many bytes free."""
        stats = os.statvfs(self.folder)
        available = stats.f_bavail * stats.f_frsize
        with self._filler.open("ab") as file:
            file.write(b"\0" * max(0, available - free))

    def fill(self) -> None:
        """Leave none."""
        try:
            with self._filler.open("ab", buffering=0) as file:
                while file.write(b"\0" * 65_536):
                    pass
        except OSError:
            pass

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Give a tmpfs of 64 MiB; without root there is none."""
    folder = tmp_path / "controller"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root, to mount a small file system")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
async def small(disk: Disk, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Give a controller on that disk, and an agent whose folder is elsewhere."""
    async with cluster(tmp_path, "") as one:
        await one.start_controller(KRONFORCE_DISK_RESERVE=str(RESERVE_BYTES))
        await one.start_agent()
        yield one


async def test_below_the_reserve_triggers_are_refused_and_the_rest_goes_on(
    small: Cluster, disk: Disk
) -> None:
    client = small.client
    go = small.folder / "go"
    run_id = await fire(small, "held", f"until [ -e {go} ]; do sleep 0.05; done; echo done")
    disk.fill_to(RESERVE_BYTES // 2)

    async def refused() -> ClientError | None:
        try:
            await client.jobs.trigger("held")
        except Overloaded as error:
            return error
        return None

    error = await until(refused, "a trigger to be refused", 20.0)
    assert error is not None
    assert error.reason == "DISK_FULL"
    assert "free" in error.message
    go.touch()
    run = await ended(small, run_id)
    assert outcome(run) == ("succeeded", "")
    disk.empty()

    async def taken() -> str:
        try:
            return (await client.jobs.trigger("held")).run.id
        except Overloaded:
            return ""

    again = await ended(small, await until(taken, "a trigger to be taken again", 20.0))
    assert outcome(again) == ("succeeded", "")


async def test_results_that_find_no_room_land_once_there_is_some(
    small: Cluster, disk: Disk
) -> None:
    notes = Notes(small.folder / "notes")
    recorder = Recorder(small, notes)
    go = small.folder / "go"
    work = f"until [ -e {go} ]; do sleep 0.05; done; echo out"
    await define(small, recorder, "waits", notes.command(work))
    runs = [await recorder.trigger("waits") for _ in range(5)]

    async def started() -> bool:
        return len(notes.effects()) >= len(runs)

    await until(started, "every task to start")
    disk.fill()
    go.touch()

    async def over() -> bool:
        return sum(effect.what == "end" for effect in notes.effects()) == len(runs)

    await until(over, "every task to end")
    # Reads go on while nothing can be written.
    assert (await small.client.runs.get(runs[0])).id == runs[0]

    async def tried() -> bool:
        return small.controller is not None and "finish_retry" in small.controller.tail(100_000)

    await until(tried, "an end to be refused by the disk")
    disk.empty()
    await recorder.settled()
    history = await recorder.history()
    assert judge(history) == []
    assert {run.state for run in history.runs} == {"succeeded"}


async def test_a_controller_killed_on_a_full_disk_comes_back_with_everything(
    small: Cluster, disk: Disk
) -> None:
    go = small.folder / "go"
    run_id = await fire(small, "held", f"until [ -e {go} ]; do sleep 0.05; done; echo done")
    disk.fill()
    assert small.controller is not None
    await small.controller.kill()
    go.touch()
    disk.empty()
    await small.start_controller(KRONFORCE_DISK_RESERVE=str(RESERVE_BYTES))
    run = await ended(small, run_id)
    assert outcome(run) == ("succeeded", "")


async def define(cluster: Cluster, recorder: Recorder, name: str, command: str) -> None:
    await cluster.client.jobs.create(shell(name, command))
    recorder.policies[name] = Policy()
