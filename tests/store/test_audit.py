"""What principals did: noted with the change, chained in the order of commits."""

import asyncio
import json

import pytest

from kronforce.clock import SystemClock
from kronforce.engine.auditing import Resource, record
from kronforce.errors import InvalidArgument
from kronforce.store import audit, counters
from kronforce.store.audit import AuditFilter
from kronforce.store.paging import PageRequest
from kronforce.store.store import Store
from tests.store.rig import Someone

KEY = bytes(range(32))
PAGE = PageRequest(size=100)


@pytest.fixture
async def store(database):
    store = Store(database, SystemClock(), audit_key=KEY)
    await store.start()
    yield store
    await store.stop()


def change(tx, name: str, *, at: int = 1_000, operation: str = "job.updated", **more) -> None:
    """Stand in for a use case that changes something and says so."""
    counters.raise_by(tx, name)
    record(tx, Someone(), at, operation, Resource(type="job", id="j-1", name=name), **more)


async def entries(store: Store, **filters):
    page = await store.read(audit.list_audit, filters=AuditFilter(**filters), page=PAGE)
    return page.items


async def test_an_entry_says_who_did_what_to_which_thing_and_from_where(store):
    await store.write(
        change, "backup", before={"retry_max": 0}, after={"retry_max": 3}, details={"via": "test"}
    )
    [row] = await entries(store)
    assert (row.actor, row.actor_id, row.peer, row.surface) == (
        "ci", "key-1", "127.0.0.1", "grpc",
    )  # fmt: skip
    assert (row.operation, row.resource_type, row.resource_id, row.resource_name) == (
        "job.updated", "job", "j-1", "backup",
    )  # fmt: skip
    assert (row.seq, row.at, row.refused) == (1, 1_000, False)
    assert json.loads(row.detail) == {
        "before": {"retry_max": 0},
        "after": {"retry_max": 3},
        "details": {"via": "test"},
    }


async def test_a_use_case_that_fails_leaves_no_entry(store):
    def fails(tx):
        change(tx, "refused")
        raise InvalidArgument("no")

    with pytest.raises(InvalidArgument):
        await store.write(fails)
    await asyncio.gather(store.write(change, "kept"), _ignored(store.write(fails)))
    assert [row.resource_name for row in await entries(store)] == ["kept"]


async def _ignored(coroutine) -> None:
    with pytest.raises(InvalidArgument):
        await coroutine


async def test_entries_of_one_batch_and_of_the_next_stand_in_one_chain(store):
    await asyncio.gather(*(store.write(change, f"c{n}", at=n) for n in range(5)))
    await store.write(change, "later", at=9)
    rows = await entries(store)
    assert [row.seq for row in rows] == [6, 5, 4, 3, 2, 1]
    assert len({row.chain_id for row in rows}) == 1
