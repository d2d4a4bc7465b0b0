"""The servicers behind the whole chain, on both stores, without a wire."""

from collections.abc import AsyncIterator

import pytest

from kronforce.clock import ManualClock
from kronforce.store.database import Database
from tests.contract.servicers.rig import Rig
from tests.store.conftest import (  # noqa: F401 - fixtures, by name
    database,
    postgres_store_url,
    postgres_template,
    sqlite_template,
    sqlite_url,
    store_url,
)


@pytest.fixture
async def rig(database: Database) -> AsyncIterator[Rig]:  # noqa: F811 - a fixture of that name
    async with Rig.open(database, ManualClock()) as rig:
        yield rig
