"""One cluster of real processes a test, on either store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.rig.cluster import Cluster, cluster

STORES = ("sqlite", "postgresql")


@pytest.fixture(params=STORES)
def db(request: pytest.FixtureRequest) -> str:
    """Give where the store is: empty for a file in the controller's folder."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgres_database_url")
    return url


@pytest.fixture
async def made(tmp_path: Path, db: str) -> AsyncIterator[Cluster]:
    """Give a cluster of which nothing runs yet."""
    async with cluster(tmp_path, db) as one:
        yield one


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Real processes: a hang is a failure before the suite's limit."""
    for item in items:
        if "tests/system/crash" in str(item.path) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(110))
