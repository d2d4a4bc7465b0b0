"""Clusters of real processes for tests, on either store."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.system.rig.cluster import Cluster, cluster
from tests.system.rig.tour import Tour

STORES = ("sqlite", "postgresql")
ROOMS = ("crash", "failures", "mistakes", "host")
TIMEOUT_SECS = 110


@pytest.fixture(params=STORES)
def db(request: pytest.FixtureRequest) -> str:
    """Give where the store is: empty for a file in the controller's folder."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgres_database_url")
    return url


@pytest.fixture
def tour(tmp_path: Path) -> Iterator[Tour]:
    """Give a shell beside a fresh `kronforce up`."""
    beside = Tour(tmp_path)
    yield beside
    beside.stop()


@pytest.fixture
async def made(tmp_path: Path, db: str) -> AsyncIterator[Cluster]:
    """Give a cluster of which nothing runs yet, on either store."""
    async with cluster(tmp_path, db) as one:
        yield one


@pytest.fixture
async def running(made: Cluster) -> Cluster:
    """Give a controller and one agent, on either store."""
    await made.start_controller()
    await made.start_agent()
    return made


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Give a controller and one agent on SQLite, where the store makes no difference."""
    async with cluster(tmp_path, "") as one:
        await one.start_controller()
        await one.start_agent()
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Give the same on SQLite to all tests of a module, which kill nothing and share names.

    Such a module says `pytestmark = pytest.mark.asyncio(loop_scope="module")`.
    """
    async with cluster(tmp_path_factory.mktemp("shared"), "") as one:
        await one.start_controller()
        await one.start_agent()
        yield one


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Real processes: a hang is a failure before the suite's limit."""
    for item in items:
        if item.path.parent.name in ROOMS and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECS))
