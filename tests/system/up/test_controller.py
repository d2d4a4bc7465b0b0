"""The controller as it is put together: its first start, its database, its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import psycopg
import pytest

from kronforce import app
from kronforce.clock import ManualClock, SystemClock
from kronforce.config import CannotStart, Config, load
from kronforce.controller_lock import CHECK_SECS, LockKeeper
from kronforce.store.controller_lock import take_controller_lock
from kronforce.store.database import open_database
from kronforce.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
    key_service_pb2,
    key_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
)

LIMIT_SECS = 20


def config_in(folder: Path, **flags: Any) -> Config:
    wanted = {"data_dir": folder, "grpc_bind": "127.0.0.1:0", "bind": "off", **flags}
    folder.mkdir(exist_ok=True, mode=0o700)
    return load(wanted, {})


@asynccontextmanager
async def running(config: Config, **options: Any) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        app.controller(config, clock=SystemClock(), **options) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield channel


def admin_of(config: Config) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {(config.data_dir / 'admin.key').read_text().strip()}"),)


async def name_of(channel: grpc.aio.Channel, metadata: Any) -> str:
    stub: Any = key_service_pb2_grpc.KeyServiceStub(channel)
    reply = await stub.WhoAmI(key_service_pb2.WhoAmIRequest(), metadata=metadata)
    return str(reply.key.name)


async def test_the_first_start_writes_an_admin_key_that_later_ones_keep(tmp_path: Path) -> None:
    config = config_in(tmp_path / "data")
    async with running(config) as channel:
        assert await name_of(channel, admin_of(config)) == "admin"
    path = config.data_dir / "admin.key"
    first = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    async with running(config) as channel:
        assert await name_of(channel, admin_of(config)) == "admin"
    assert path.read_text() == first


async def test_the_first_admin_key_can_be_brought(tmp_path: Path) -> None:
    brought = "kf_" + "0123456789abcdef" * 2
    config = config_in(tmp_path / "data", bootstrap_admin_key=brought)
    async with running(config) as channel:
        assert await name_of(channel, (("authorization", f"Bearer {brought}"),)) == "admin"
    assert (config.data_dir / "admin.key").read_text().strip() == brought


async def test_a_brought_key_that_is_none_is_refused(tmp_path: Path) -> None:
    config = config_in(tmp_path / "data", bootstrap_admin_key="secret")
    with pytest.raises(CannotStart, match="KRONFORCE_BOOTSTRAP_ADMIN_KEY") as refused:
        async with running(config):
            pass
    assert "'secret'" not in str(refused.value)


async def test_the_built_in_agent_finds_a_new_credential_at_each_start(tmp_path: Path) -> None:
    config = config_in(tmp_path / "data", agent_name="here", agent_tags=("gpu",))
    path = config.data_dir / "agent-here" / "credential"
    seen = []
    for _ in range(2):
        async with running(config, built_in_agent=True) as channel:
            credential = json.loads(path.read_text())
            seen.append(credential)
            metadata = (("authorization", f"Bearer {credential['secret']}"),)
            assert await name_of(channel, metadata) == "here"
            stub: Any = agent_service_pb2_grpc.AgentServiceStub(channel)
            agent = await stub.GetAgent(
                agent_service_pb2.GetAgentRequest(agent_id="here"), metadata=admin_of(config)
            )
            assert (agent.built_in, list(agent.tags)) == (True, ["gpu"])
    assert path.stat().st_mode & 0o777 == 0o600
    assert seen[0]["agent_id"] == seen[1]["agent_id"]
    assert seen[0]["secret"] != seen[1]["secret"]


async def test_status_and_health_tell_what_is_there(tmp_path: Path) -> None:
    config = config_in(tmp_path / "data", disk_reserve="1KiB")
    async with running(config, built_in_agent=True) as channel:
        stub: Any = system_service_pb2_grpc.SystemServiceStub(channel)
        health = await stub.GetHealth(system_service_pb2.GetHealthRequest())
        assert (health.status, health.db_ok) == ("ok", True)
        status = await stub.GetStatus(
            system_service_pb2.GetStatusRequest(), metadata=admin_of(config)
        )
    assert (status.store, status.agents, status.agents_online) == ("sqlite", 1, 0)
    assert (status.jobs, status.pending, status.running) == (0, 0, 0)
    assert not status.HasField("oldest_waiting")
    assert status.data_location == f"{config.data_dir}/kronforce.db"
    assert status.store_bytes > 0
    assert status.disk_free_bytes > 0
    assert status.disk_reserve_bytes == 1024


async def test_little_disk_is_told_as_degraded(tmp_path: Path) -> None:
    config = config_in(tmp_path / "data", disk_reserve="1000TiB")
    async with running(config) as channel:
        stub: Any = system_service_pb2_grpc.SystemServiceStub(channel)
        health = await stub.GetHealth(system_service_pb2.GetHealthRequest())
    assert (health.status, health.db_ok) == ("degraded", True)


async def test_a_file_that_is_no_database_is_refused_with_its_name(tmp_path: Path) -> None:
    config = config_in(tmp_path / "data")
    (config.data_dir / "kronforce.db").write_text("not a database" * 1000)
    with pytest.raises(CannotStart, match=r"kronforce\.db.*--db"):
        async with running(config):
            pass


async def test_a_second_controller_of_a_database_is_refused(
    tmp_path: Path, postgres_database_url: str
) -> None:
    first = config_in(tmp_path / "one", db=postgres_database_url)
    second = config_in(tmp_path / "two", db=postgres_database_url)
    async with running(first) as channel:
        with pytest.raises(CannotStart, match="another controller"):
            async with running(second):
                pass
        assert await name_of(channel, admin_of(first)) == "admin"


class Keeping:
    """A lock keeper on a clock of the test's."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = ManualClock()
        self.lost = asyncio.Event()
        self.database = open_database(url)
        self.keeper = LockKeeper(self.database, self.clock, self.lost.set)

    async def turn(self) -> None:
        await self.clock.until_sleeping()
        self.clock.advance(CHECK_SECS)

    def cut(self) -> None:
        """End every other connection, as a restart of the server does."""
        with psycopg.connect(self.url, autocommit=True) as server:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )


@pytest.fixture
async def keeping(postgres_database_url: str) -> AsyncIterator[Keeping]:
    made = Keeping(postgres_database_url)
    made.keeper.take()
    task = asyncio.create_task(made.keeper.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    made.keeper.release()
    made.database.close()


async def test_a_lock_that_was_cut_is_taken_again(keeping: Keeping) -> None:
    async with asyncio.timeout(LIMIT_SECS):
        await keeping.clock.until_sleeping()
        keeping.cut()
        await keeping.turn()
        await keeping.turn()
        await keeping.clock.until_sleeping()
    assert not keeping.lost.is_set()
    assert keeping.keeper._lock is not None
    assert keeping.keeper._lock.is_held()


async def test_a_controller_that_lost_its_lock_to_another_stops(keeping: Keeping) -> None:
    other = open_database(keeping.url)
    async with asyncio.timeout(LIMIT_SECS):
        await keeping.clock.until_sleeping()
        keeping.cut()
        taken = await asyncio.to_thread(take_controller_lock, other.main)
        assert taken is not None
        await keeping.turn()
        await keeping.lost.wait()
    taken.release()
    other.close()
