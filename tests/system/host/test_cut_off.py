"""A restore that is killed anywhere leaves what no controller starts on, and is repeated."""

import pytest

from kronforce.config import Config
from kronforce.host import schema
from kronforce.host.opening import HostError
from tests.system.rig.cluster import Cluster
from tests.system.rig.restoring import Said, backup, command, restore

# Of SQLite until the files are marked, of PostgreSQL until the tables are moved, all is as it was.
POINTS = {
    "sqlite": ["marked:1", "moved_aside:1", "placed_one:1", "placed_one:4", "placed_all:1"],
    "postgresql": [
        "marked:1", "set_aside:1", "loaded:1", "moved_aside:1", "placed_one:2", "placed_all:1",
    ],
}  # fmt: skip


@pytest.fixture
async def stopped(made: Cluster) -> Cluster:
    """Give a data folder with one job, whose controller was stopped."""
    controller = await made.start_controller()
    task = {"type": "noop"}
    await made.client.jobs.create({"name": "kept", "task": task})
    await controller.stop()
    return made


async def start_controller(cluster: Cluster) -> Said:
    return await command(cluster, "controller", "--grpc-bind", "127.0.0.1:0", "--bind", "off")


async def test_whatever_a_kill_leaves_behind_is_refused_until_the_restore_is_repeated(
    stopped: Cluster, db: str
) -> None:
    source = await backup(stopped)
    for point in POINTS["postgresql" if db else "sqlite"]:
        (stopped.data_dir / "admin.key").write_text("another\n")
        plan = f"host.restore.{point}:kill"
        assert (await command(stopped, "restore", str(source), "--force", failpoint=plan)).code < 0

        started = await start_controller(stopped)
        assert started.code != 0, point
        assert "was not finished: repeat it with kronforce restore FILE --force" in started.text

        # The next one begins where this one was cut off, and comes further.

    said = await restore(stopped, source, "--force")
    assert "before you start" not in said.text
    assert not list(stopped.data_dir.glob(".kronforce-restore-*"))
    await stopped.start_controller()
    assert [job.name async for job in stopped.client.jobs.list()] == ["kept"]


@pytest.mark.parametrize("db", [""], ids=["sqlite"])
async def test_before_the_swap_a_kill_leaves_everything_as_it_was(stopped: Cluster) -> None:
    source = await backup(stopped)
    plan = "host.restore.staged:1:kill"
    assert (await command(stopped, "restore", str(source), "--force", failpoint=plan)).code < 0

    await stopped.start_controller()

    assert [job.name async for job in stopped.client.jobs.list()] == ["kept"]
    assert not list(stopped.data_dir.glob("before-restore-*"))


@pytest.mark.parametrize("db", ["postgresql"], indirect=True)
async def test_a_controller_with_another_folder_does_not_start_on_half_a_database_either(
    stopped: Cluster,
) -> None:
    source = await backup(stopped)
    for point in ("set_aside:1", "loaded:1"):
        plan = f"host.restore.{point}:kill"
        assert (await command(stopped, "restore", str(source), "--force", failpoint=plan)).code < 0
        config = Config(data_dir=stopped.folder / "other", db=stopped.db)
        with pytest.raises(HostError, match="was not finished"):
            schema.upgrade(config)
        started = await start_elsewhere(stopped)
        assert (started.code != 0, "was not finished" in started.text) == (True, True)


async def start_elsewhere(cluster: Cluster) -> Said:
    here, cluster.data_dir = cluster.data_dir, cluster.folder / "other"
    try:
        return await start_controller(cluster)
    finally:
        cluster.data_dir = here
