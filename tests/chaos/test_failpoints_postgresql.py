"""Every failpoint on PostgreSQL too; `make test` has all of them on SQLite and a sample here."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.checker.rules import judge
from tests.system.rig.cluster import Cluster, cluster
from tests.system.rig.failpoint_round import LAUNCHER_GONE, Point, play, points

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(110)]


@pytest.fixture
async def made(tmp_path: Path, postgres_database_url: str) -> AsyncIterator[Cluster]:
    """Give a cluster on PostgreSQL of which nothing runs yet."""
    async with cluster(tmp_path, postgres_database_url) as one:
        yield one


@pytest.mark.parametrize("point", points(), ids=str)
async def test_a_kill_at_each_failpoint_breaks_no_promise(made: Cluster, point: Point) -> None:
    history = await play(made, point)
    assert judge(history) == []
    assert [line for line in made.complaints() if LAUNCHER_GONE not in line] == []
