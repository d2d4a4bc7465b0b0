"""This version's controller over what the first version left."""

from pathlib import Path

import pytest

from tests.store import first_version
from tests.system.rig.cluster import Cluster
from tests.system.rig.restoring import command


async def test_a_start_migrates_sqlite_and_says_where_the_copy_is_and_asks_on_postgresql(
    made: Cluster, db: str
) -> None:
    made.data_dir.mkdir(mode=0o700)
    first_version.make(made.db)
    if db:
        refused = await command(made, "controller", "--grpc-bind", "127.0.0.1:0", "--bind", "off")
        assert refused.code != 0
        assert "make a backup, then run: kronforce db migrate" in refused.text
        said = await command(made, "db", "migrate")
        assert (said.code, "0001 -> " in said.text) == (0, True)

    controller = await made.start_controller()

    assert [job.name async for job in made.client.jobs.list()] == ["old"]
    (run,) = [run async for run in made.client.runs.list()]
    assert run.job_name == "old"
    assert is_kept(made) == (not db)
    assert (".before-upgrade-from-0001" in controller.tail(100_000)) == (not db)
    assert made.complaints() == []


def is_kept(cluster: Cluster) -> bool:
    return Path(cluster.db + ".before-upgrade-from-0001").exists()


@pytest.mark.parametrize("db", [""], ids=["sqlite"])
async def test_a_backup_is_refused_until_the_database_is_this_versions(made: Cluster) -> None:
    made.data_dir.mkdir(mode=0o700)
    first_version.make(made.db)
    said = await command(made, "backup", "--out", str(made.folder / "b.tar"))
    assert (said.code, "kronforce db current" in said.text) == (1, True)
