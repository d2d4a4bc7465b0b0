"""Failure 13: a data folder on a disk that gets full; nothing that was acknowledged is lost."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from kronforce.v1.api_key_pb2 import ROLE_VIEWER
from kronforce_client import ClientError, Overloaded
from tests.fakes.http_reader import ask
from tests.system.checker.history import Policy
from tests.system.checker.rules import judge
from tests.system.failures.jobs import ended, fire, outcome, shell
from tests.system.rig.cluster import ADMIN_KEY, Cluster, cluster, until
from tests.system.rig.recording import Recorder
from tests.system.rig.restoring import command
from tests.system.rig.small_disk import MIB, Disk, mounted
from tests.system.rig.tasks import Notes, printing

DISK_BYTES = 64 * MIB
RESERVE_BYTES = 24 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Give a tmpfs of 64 MiB; without root there is none."""
    with mounted(tmp_path / "controller", DISK_BYTES) as made:
        yield made


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


async def test_over_http_a_full_disk_is_507_for_what_writes_and_reads_go_on(
    disk: Disk, tmp_path: Path
) -> None:
    async with cluster(tmp_path, "") as one:
        await one.start_controller(
            KRONFORCE_DISK_RESERVE=str(RESERVE_BYTES), KRONFORCE_BIND="127.0.0.1:0"
        )
        await one.client.jobs.create(shell("there", "true"))
        disk.fill()
        asked = {
            "/api/jobs": {**shell("more", "true"), "description": LARGE},
            "/api/jobs/there/trigger": {},
            "/api/variables": {"name": "V", "value": LARGE},
        }
        for path, body in asked.items():
            refused = await until(no_room(one, path, body), f"{path} to be refused", 30.0)
            assert refused["reason"] == "DISK_FULL"
            assert "free" in refused["error"]
        assert (await http(one, "GET", "/api/jobs/there"))[0] == 200
        assert (await http(one, "GET", "/api/runs"))[0] == 200

        disk.empty()

        async def taken() -> bool:
            status, _ = await http(one, "POST", "/api/jobs/there/trigger", {})
            assert status in {200, 201, 202, 507}, status
            return status != 507

        await until(taken, "a trigger to be taken again", 20.0)


def no_room(
    cluster: Cluster, path: str, body: dict[str, Any]
) -> Callable[[], Awaitable[dict[str, Any] | None]]:
    """What is said where there is none; the log may have some left in itself."""

    async def refused() -> dict[str, Any] | None:
        status, said = await http(cluster, "POST", path, body)
        assert status in {200, 201, 202, 409, 507}, (status, said)
        return said if status == 507 else None

    return refused


async def http(
    cluster: Cluster, verb: str, path: str, body: dict[str, Any] | None = None
) -> tuple[int, Any]:
    endpoint = json.loads((cluster.data_dir / "endpoint.json").read_text())
    port = int(endpoint["http"].rpartition(":")[2].rstrip("/"))
    key = {"Authorization": f"Bearer {ADMIN_KEY}"}
    sent = b"" if body is None else orjson.dumps(body)
    async with ask(port, path, verb=verb, headers=key, body=sent) as answer:
        return answer.status, await answer.json()


# More than a log of this disk's size has room for in what it holds already.
TRIES = 400
LARGE = "x" * 8_000


async def test_each_kind_of_write_is_refused_by_name_and_goes_on_once_there_is_room(
    small: Cluster, disk: Disk
) -> None:
    client = small.client
    await client.jobs.create(shell("there", "true"))
    numbers = iter(range(10_000))
    writes: dict[str, Callable[[], Awaitable[object]]] = {
        "a definition": lambda: client.jobs.create(
            shell(f"more-{next(numbers)}", "true", description=LARGE)
        ),
        "a secret": lambda: client.variables.create(f"V{next(numbers)}", LARGE, secret=True),
        "a key": lambda: client.keys.create(f"key-{next(numbers)}", role=ROLE_VIEWER),
        "a pause": lambda: client.jobs.pause("there"),
        "a trigger": lambda: client.jobs.trigger("there"),
        "a join token": client.agents.create_join_token,
    }
    disk.fill()
    for what, write in writes.items():
        error = await _refused(write)
        assert error is not None, f"{what} is taken for ever"
        assert error.reason == "DISK_FULL", what
        assert "free some space" in error.message, what
        assert str(disk.folder) in error.message, what
    assert [job.name async for job in client.jobs.list()][-1] == "there"
    said = await command(small, "backup", "--out", str(disk.folder / "backup.tar.gz"))
    assert said.code == 1
    assert "Traceback" not in said.text
    assert not list(disk.folder.glob("*.tar.gz*"))

    disk.empty()

    for write in writes.values():
        await until(_taken(write), "a write to be taken again", 20.0)
    assert [line for line in small.complaints() if "Traceback" in line] == []


async def _refused(write: Callable[[], Awaitable[object]]) -> ClientError | None:
    """The log may have some room left in itself."""
    for _ in range(TRIES):
        try:
            await write()
        except Overloaded as error:
            return error
    return None


def _taken(write: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[bool]]:
    async def taken() -> bool:
        try:
            await write()
        except Overloaded:
            return False
        return True

    return taken


async def test_output_that_finds_no_room_is_held_back_and_arrives_whole(
    small: Cluster, disk: Disk
) -> None:
    notes = Notes(small.folder / "notes")
    recorder = Recorder(small, notes)
    go = small.folder / "go"
    work = f"until [ -e {go} ]; do sleep 0.05; done; {printing(3 * MIB, parts=30, pause_secs=0.02)}"
    await define(small, recorder, "chatty", notes.command(work), output_bytes=3 * MIB)
    await recorder.trigger("chatty")
    await until(_started(notes), "the task to start")
    disk.fill()
    go.touch()

    async def held_back() -> bool:
        assert small.controller is not None
        return "output_held_back" in small.controller.tail(100_000) or notes_end(notes)

    def notes_end(notes: Notes) -> bool:
        return any(effect.what == "end" for effect in notes.effects())

    await until(held_back, "output to find no room")
    disk.empty()
    await recorder.settled()
    history = await recorder.history()
    assert judge(history) == []
    assert {run.state for run in history.runs} == {"succeeded"}


def _started(notes: Notes) -> Callable[[], Awaitable[bool]]:
    async def started() -> bool:
        return bool(notes.effects())

    return started


@pytest.mark.parametrize("free", [0, 8_192, 65_536, 400_000])
async def test_a_first_start_without_room_is_told_and_the_next_one_is_a_first_start(
    disk: Disk, tmp_path: Path, free: int
) -> None:
    async with cluster(tmp_path, "") as one:
        disk.fill_to(free)
        if not free:
            disk.fill()
        started = await command(one, "controller", "--grpc-bind", "127.0.0.1:0", "--bind", "off")
        assert started.code == 1
        assert "Traceback" not in started.text
        assert str(disk.folder) in started.text
        disk.empty()
        await one.start_controller(KRONFORCE_DISK_RESERVE=str(RESERVE_BYTES))
        await one.start_agent()
        run = await ended(one, await fire(one, "works", "true"))
        assert outcome(run) == ("succeeded", "")
        assert (disk.folder / "admin.key").read_text().startswith("kf_")


async def define(
    cluster: Cluster,
    recorder: Recorder,
    name: str,
    command: str,
    output_bytes: int | None = None,
) -> None:
    await cluster.client.jobs.create(shell(name, command))
    recorder.policies[name] = Policy(output_bytes=output_bytes)
