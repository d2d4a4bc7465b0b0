"""Whatever is done to the stored audit log behind the controller's back is found."""

import asyncio
from itertools import combinations

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kronforce.clock import SystemClock
from kronforce.store.audit_chain import Signer
from kronforce.store.audit_retention import cut
from kronforce.store.audit_verify import START, Checked, verify_page
from kronforce.store.database import Tx, open_database, writing
from kronforce.store.store import Store
from kronforce.store.tables import audit, audit_book, audit_chains
from tests.store.test_audit import KEY, change

SIGNER = Signer(KEY)
TABLES = {table.name: table for table in (audit, audit_chains, audit_book)}
# So small that every history spans pages.
PAGE = 3

LIVES = ((1, 2, 3, 4, 5), (6, 7), (8, 9, 10, 11))
# Entries before it are cut.
CUTOFF = 3


def verify(tx: Tx, signer: Signer = SIGNER, page: int = PAGE) -> Checked:
    """All pages as one."""
    whole, place = Checked(), START
    while place is not None:
        found = verify_page(tx, signer, place, page)
        whole.faults += found.faults
        whole.entries += found.entries
        whole.chains += found.chains
        whole.cut += found.cut
        place = found.after
    return whole


async def write_history(url: str) -> None:
    """Three lives of a controller, each with its chain, some entries in one batch."""
    for life in LIVES:
        store = Store(open_database(url), SystemClock(), audit_key=KEY)
        await store.start()
        await store.write(change, "first", at=life[0])
        await asyncio.gather(
            *(store.write(change, f"job {at}", at=at, after={"n": at}) for at in life[1:])
        )
        await store.stop()


@pytest.fixture(params=["whole", "cut"])
def history(request, store_url, database):
    asyncio.run(write_history(store_url))
    if request.param == "cut":
        with writing(database.main) as tx:
            while cut(tx, CUTOFF, signer=SIGNER, now=99, limit=1):
                pass
    return database


class _Undo(Exception):
    pass


def found_after(database, damage) -> list[str]:
    """The faults that verifying finds after some damage, which is then undone."""
    faults = []
    try:
        with writing(database.main) as tx:
            damage(tx)
            faults = [fault.fault for fault in verify(tx).faults]
            raise _Undo
    except _Undo:
        return faults


def rows_of(database, table):
    with database.main.connect() as conn:
        return conn.execute(sa.select(table).order_by(*table.primary_key)).all()


def this(table, row):
    return sa.and_(*(column == getattr(row, column.name) for column in table.primary_key))


def test_what_nobody_touched_holds(history):
    with writing(history.main) as tx:
        found = verify(tx)
    assert found.faults == []
    assert found.entries + found.cut == sum(len(life) for life in LIVES)
    assert found.chains == len(LIVES)


def test_another_key_signs_nothing_of_it(history):
    with writing(history.main) as tx:
        faults = verify(tx, Signer(b"another")).faults
    assert {fault.fault for fault in faults} == {"checkpoint"}


@pytest.mark.parametrize("name", list(TABLES))
def test_a_row_that_is_taken_out_is_found(history, name):
    table = TABLES[name]
    for row in rows_of(history, table):
        faults = found_after(
            history, lambda tx, row=row: tx.conn.execute(sa.delete(table).where(this(table, row)))
        )
        assert faults, row


@pytest.mark.parametrize("name", ["audit", "audit_chains"])
def test_two_rows_that_change_places_are_found(history, name):
    table = TABLES[name]
    keys = [column.name for column in table.primary_key]

    def swap(tx, one, other):
        for here, there in ((one, other), (other, one)):
            values = {k: v for k, v in there._asdict().items() if k not in keys}
            tx.conn.execute(sa.update(table).where(this(table, here)).values(values))

    for one, other in combinations(rows_of(history, table), 2):
        assert found_after(history, lambda tx, a=one, b=other: swap(tx, a, b)), (one, other)


@pytest.mark.parametrize("name", list(TABLES))
def test_a_column_that_is_changed_is_found(history, name):
    table = TABLES[name]
    places = [(row, column) for row in rows_of(history, table) for column in table.c]

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data):
        row, column = data.draw(st.sampled_from(places))
        value = data.draw(_other(column, getattr(row, column.name)))
        update = sa.update(table).where(this(table, row)).values({column.name: value})
        try:
            faults = found_after(history, lambda tx: tx.conn.execute(update))
        except sa.exc.IntegrityError:
            return  # another row has this key
        assert faults, (row, column.name, value)

    check()


def _other(column: sa.Column, value) -> st.SearchStrategy:
    """Anything else that the column could hold."""
    kind = column.type.python_type
    if kind is bool:
        return st.just(not value)
    limit = 2**15 - 1 if isinstance(column.type, sa.SmallInteger) else 2**62
    values = {
        int: st.integers(-limit, limit) | st.integers(0, 20),
        bytes: st.binary(max_size=40),
        str: st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10),
    }[kind]
    return values.filter(lambda other: other != value)


def test_an_entry_that_is_put_in_is_found(history):
    rows = rows_of(history, audit)
    taken = {row.key for row in rows}
    for row in rows:
        for key in {row.key + 1, row.key - 1, row.key + (9 << 40)} - taken:
            values = row._asdict() | {"key": key}
            faults = found_after(
                history, lambda tx, v=values: tx.conn.execute(sa.insert(audit).values(v))
            )
            assert faults, values


def test_one_changed_entry_is_one_fault_at_its_place(history):
    row = rows_of(history, audit)[-2]
    places = []

    def damage(tx):
        tx.conn.execute(sa.update(audit).where(audit.c.key == row.key).values(actor="nobody"))
        places.extend((f.chain_id, f.seq, f.fault) for f in verify(tx, page=100).faults)

    found_after(history, damage)
    assert places == [(3, 3, "changed")]
