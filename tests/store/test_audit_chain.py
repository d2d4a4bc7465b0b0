"""The chain while it is written: whatever fails, nothing is skipped, forked or signed over."""

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa

from kronforce.clock import SystemClock
from kronforce.engine.audit_log import AuditLog
from kronforce.engine.retention import Retention
from kronforce.errors import Unavailable
from kronforce.store.audit import list_audit
from kronforce.store.audit_retention import cut
from kronforce.store.database import open_database, writing
from kronforce.store.paging import PageRequest
from kronforce.store.store import Store
from kronforce.store.tables import audit, audit_book, audit_chains
from tests.store.only_on import ON_POSTGRESQL
from tests.store.test_audit import KEY, change

CLOCK = SystemClock()


class OperationalError(Exception):
    """As the drivers say that the connection is gone."""


@pytest.fixture
async def stores(store_url):
    """Open controllers' views of one database, as many as a test wants."""
    opened = []

    async def another() -> Store:
        store = Store(open_database(store_url), CLOCK, audit_key=KEY)
        await store.start()
        opened.append(store)
        return store

    yield another
    for store in opened:
        await store.stop()


async def faults(store: Store) -> list[str]:
    found = await AuditLog(store=store, clock=CLOCK).verify()
    return [fault.message for fault in found.faults]


async def places(store: Store) -> list[tuple[int, int]]:
    page = await store.read(list_audit, page=PageRequest(size=1_000))
    return sorted((row.chain_id, row.seq) for row in page.items)


def broken(tx) -> None:
    raise ZeroDivisionError


async def test_a_batch_that_is_split_leaves_no_hole(stores):
    store = await stores()
    await store.write(change, "before")
    results = await asyncio.gather(
        store.write(change, "one"), store.write(broken), store.write(change, "two"),
        return_exceptions=True,
    )  # fmt: skip
    assert isinstance(results[1], ZeroDivisionError)
    await store.write(change, "after")
    assert await places(store) == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert await faults(store) == []


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("told", [True, False])
async def test_a_commit_that_was_not_answered_forks_nothing(stores, monkeypatch, committed, told):
    store = await stores()
    await store.write(change, "before")
    main = store.main
    end = main._end
    if not told:
        monkeypatch.setattr(main, "_landed", lambda tx, batch: None)

    def break_once(conn):
        monkeypatch.setattr(main, "_end", end)
        if committed:
            end(conn)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(main, "_end", break_once)
    result = (await asyncio.gather(store.write(change, "lost"), return_exceptions=True))[0]
    if told and committed:
        assert result is None
    else:
        assert isinstance(result, Unavailable)
    await store.write(change, "after")
    assert await places(store) == [(1, n + 1) for n in range(2 + committed)]
    assert await faults(store) == []


@ON_POSTGRESQL
async def test_two_controllers_write_two_chains_at_once(stores):
    one, other = await stores(), await stores()
    await asyncio.gather(
        *(store.write(change, f"{n}", at=n) for n in range(20) for store in (one, other))
    )
    assert await places(one) == [(chain, n + 1) for chain in (1, 2) for n in range(20)]
    assert await faults(one) == await faults(other) == []


async def test_a_new_life_begins_a_new_chain(stores):
    for life in range(3):
        store = await stores()
        await store.write(change, f"life {life}")
    assert await places(store) == [(1, 1), (2, 1), (3, 1)]
    assert await faults(store) == []


async def test_an_end_that_somebody_moved_is_not_signed_over(stores):
    store = await stores()
    for n in range(3):
        await store.write(change, f"{n}")
    with writing(store.database.main) as tx:
        tx.conn.execute(sa.delete(audit).where(audit.c.key == (1 << 40) + 3))
        tx.conn.execute(sa.update(audit_chains).values(last_seq=2))
    await store.write(change, "later")
    assert await places(store) == [(1, 1), (1, 2), (2, 1)]
    assert "the end of chain 1 was changed, or signed with another key" in await faults(store)


async def test_a_chain_that_is_gone_does_not_stop_the_work(stores):
    store = await stores()
    await store.write(change, "one")
    with writing(store.database.main) as tx:
        tx.conn.execute(sa.delete(audit_chains))
    await store.write(change, "two")
    assert await places(store) == [(1, 1), (2, 1)]
    assert await faults(store) == [
        "what chain 1 was signed for is gone: its entries cannot be checked"
    ]


async def test_entries_without_chains_do_not_stop_the_work(stores):
    store = await stores()
    await store.write(change, "one")
    with writing(store.database.main) as tx:
        tx.conn.execute(sa.delete(audit_chains))
        tx.conn.execute(sa.delete(audit_book))
    await store.write(change, "two")
    assert await places(store) == [(1, 1), (2, 1)]
    assert await faults(store) != []


async def test_checking_goes_on_while_entries_come_and_go(stores):
    store = await stores()
    log = AuditLog(store=store, clock=CLOCK)
    done = asyncio.Event()
    found = []

    async def write() -> None:
        for n in range(80):
            await store.write(change, f"{n}", at=n)
            if n % 10 == 9:
                await store.write(cut, n - 5, signer=store.audit.signer, now=n, limit=7)
        done.set()

    async def check() -> None:
        while not done.is_set():
            found.extend((await log.verify()).faults)

    await asyncio.gather(write(), check(), check())
    assert found == []
    assert await faults(store) == []


async def test_retention_cuts_what_is_older_and_the_rest_still_holds(stores):
    old, store = await stores(), None
    day = 86_400_000_000
    now = CLOCK.now_us()
    for age in (200, 150, 91):
        await old.write(change, f"{age} days", at=now - age * day)
    store = await stores()
    for age in (120, 89, 0):
        await store.write(change, f"{age} days", at=now - age * day)
    retention = Retention(
        store=store, clock=CLOCK, keep=timedelta(days=7), keep_audit=timedelta(days=90)
    )
    await retention.round()
    assert await places(store) == [(2, 2), (2, 3)]
    found = await AuditLog(store=store, clock=CLOCK).verify()
    assert (found.faults, found.cut, found.chains) == ([], 4, 1)
    # The older life's chain was dropped under it: it begins another.
    await old.write(change, "again", at=now)
    assert await places(old) == [(2, 2), (2, 3), (3, 1)]
    assert await faults(old) == []


async def test_a_chain_that_does_not_hold_is_kept_as_evidence(stores):
    store = await stores()
    for n in range(5):
        await store.write(change, f"{n}", at=n)
    with writing(store.database.main) as tx:
        tx.conn.execute(sa.update(audit).where(audit.c.key == (1 << 40) + 3).values(actor="me"))
    for _ in range(3):
        await store.write(cut, 1_000, signer=store.audit.signer, now=0)
    assert await places(store) == [(1, 3), (1, 4), (1, 5)]
    assert await faults(store) == ["entry 3 of chain 1 was changed"]


async def test_checking_in_parts_finds_the_same(stores):
    store = await stores()
    for n in range(10):
        await store.write(change, f"{n}")
    log = AuditLog(store=store, clock=CLOCK)
    first = await log.verify(entries=1, page_size=3)
    assert first.after is not None
    parts, place = [first], first.after
    while place is not None:
        parts.append(await log.verify(place, entries=1, page_size=3))
        place = parts[-1].after
    assert sum(part.entries for part in parts) == 10
    assert sum(part.chains for part in parts) == 1
