"""Variables, their keys and their expiry, on both stores; copies in memory follow."""

import random

import pytest

from kronforce.clock import ManualClock
from kronforce.core.access import Role, Scope
from kronforce.core.ids import IdSource
from kronforce.core.variable_rules import DAY
from kronforce.engine.values import changes as variable_changes
from kronforce.engine.values import key_rotation
from kronforce.engine.values.cache import VariableCache
from kronforce.engine.values.changes import Change, Draft
from kronforce.engine.values.watch import VariableWatch
from kronforce.errors import ResourceExhausted
from kronforce.security.envelope import CannotOpen, Keyring, MasterKey
from kronforce.store import secret_keys, variables
from kronforce.store.database import open_database, reading
from kronforce.store.events import list_events
from kronforce.store.store import Store
from tests.store.rig import Someone
from tests.store.rows import EVERYTHING, FIRST

ADMIN = Scope(principal_id="admin", role=Role.ADMIN)


class Controller:
    """What one controller has of variables: a store, keys, a copy in memory."""

    def __init__(self, url, clock):
        self.clock = clock
        self.store = Store(open_database(url), clock)
        self.new_id = IdSource(clock, random.Random(id(self)))
        self.keyring = Keyring(MasterKey(b"m" * 32))
        self.cache = VariableCache(self.store, self.keyring)
        self.watch = VariableWatch(
            store=self.store, clock=clock, cache=self.cache, keyring=self.keyring
        )

    async def start(self):
        await self.store.start()
        await key_rotation.ensure_key(
            self.store, self.keyring, key_id=self.new_id(), now=self.clock.now_us()
        )
        await self.cache.refresh()
        return self

    @property
    def change(self):
        return Change(
            scope=ADMIN,
            author=Someone(name="admin"),
            trusted=True,
            now=self.clock.now_us(),
            keyring=self.keyring,
        )

    async def make(self, name, value="hunter22", *, secret=True, **draft):
        return await self.store.write(
            variable_changes.create_variable,
            self.change,
            variable_id=self.new_id(),
            name=name,
            draft=Draft(value=value, secret=secret, **draft),
        )

    async def text(self, name):
        row = self.cache.get(name)
        return None if row is None else self.cache.text_of(row).decode()

    async def keys(self):
        return await self.store.read(secret_keys.all_keys)

    async def rotate(self):
        return await key_rotation.rotate(
            self.store,
            self.keyring,
            author=Someone(),
            key_id=self.new_id(),
            now=self.clock.now_us(),
        )


@pytest.fixture
async def clock():
    return ManualClock()


@pytest.fixture
async def one(store_url, clock):
    made = await Controller(store_url, clock).start()
    yield made
    await made.store.stop()


@pytest.fixture
async def two(store_url, clock):
    made = await Controller(store_url, clock).start()
    yield made
    await made.store.stop()


async def test_two_controllers_make_one_first_key(one, two):
    assert len(await one.keys()) == 1
    assert await one.keys() == await two.keys()


async def test_a_secret_written_by_one_controller_is_read_by_the_other(one, two):
    await one.make("TOKEN")
    await two.watch.round()
    assert await two.text("TOKEN") == "hunter22"


async def test_changes_and_deletions_are_taken_over(one, two):
    await one.make("A", "1", secret=False)
    await one.make("B", "2", secret=False)
    await two.cache.poll()
    await one.store.write(
        variable_changes.update_variable,
        one.change, ref="A", etag="", name=None, draft=Draft(value="3"),
    )  # fmt: skip
    await one.store.write(variable_changes.delete_variable, one.change, ref="B", force=False)

    await two.cache.poll()
    assert (await two.text("A"), await two.text("B")) == ("3", None)


async def test_a_sealed_value_copied_into_another_row_does_not_open(one):
    await one.make("MINE", "harmless")
    theirs = await one.make("THEIRS")
    await one.store.write(lambda tx: variables.rewrite(
        tx, variables.find_variable(tx, ADMIN, "MINE").key, value=theirs.value,
        secret_key=theirs.secret_key, revision=variables.raise_revision(tx)))  # fmt: skip
    await one.cache.poll()
    with pytest.raises(CannotOpen):
        await one.text("MINE")


async def test_rotation_writes_every_secret_anew_and_destroys_the_old_key(one, two):
    names = [f"S{number}" for number in range(key_rotation.BATCH * 2 + 3)]
    for name in names:
        await one.make(name, f"value of {name}")
    await two.cache.poll()
    [old] = await one.keys()

    rotated = await one.rotate()
    assert rotated.rewritten == len(names)
    [current] = await one.keys()
    assert current.id == rotated.key_id != old.id
    # Whoever has not looked again yet still reads what it has.
    assert await two.text("S7") == "value of S7"
    for controller in (one, two):
        await controller.cache.poll()
        assert [await controller.text(name) for name in names] == [f"value of {n}" for n in names]


async def test_rotation_changes_nothing_that_a_caller_sees(one):
    made = await one.make("TOKEN")
    await one.rotate()
    row = await one.store.read(variables.find_variable, ADMIN, "TOKEN")
    assert row.value != made.value
    assert variable_changes.etag_of(row) == variable_changes.etag_of(made)
    assert (row.updated_at, row.updated_by) == (made.updated_at, made.updated_by)


async def test_a_rotation_that_was_cut_short_goes_on_by_whoever_is_there(one, two):
    for number in range(key_rotation.BATCH + 5):
        await one.make(f"S{number}")
    await one.store.write(
        key_rotation._make_key, one.keyring, Someone(), one.new_id(), one.clock.now_us()
    )
    await one.store.write(key_rotation._rewrite_some, one.keyring)
    await one.make("LATER")
    assert len(await one.keys()) == 2

    await two.watch.round()
    assert len(await two.keys()) == 1
    assert await two.text("S54") == await two.text("LATER") == "hunter22"


async def test_rotation_under_writes_leaves_nothing_behind(one, two):
    import asyncio  # noqa: PLC0415

    async def write():
        for number in range(40):
            await two.make(f"W{number}")

    await asyncio.gather(write(), *(one.rotate() for _ in range(3)))
    await two.watch.round()
    assert len(await two.keys()) == 1
    assert {await two.text(f"W{number}") for number in range(40)} == {"hunter22"}


async def told(controller):
    def read(tx):
        return [event.kind for event in list_events(tx, EVERYTHING, page=FIRST).items]

    kinds = await controller.store.read(read)
    return [kind for kind in reversed(kinds) if kind.startswith("variable.exp")]


async def test_expiry_is_told_14_3_and_1_days_before_and_then(one, two, clock):
    await one.make("TOKEN", sets_expiry=True, expires_at=clock.now_us() + 30 * DAY)
    await one.watch.tell_expiry()
    assert await told(one) == []

    for days in (16, 11, 2, 1):
        clock.advance(days * 86_400)
        await one.watch.tell_expiry()
        await two.watch.tell_expiry()
    assert await told(one) == ["variable.expiring"] * 3 + ["variable.expired"]


async def test_after_a_pause_only_the_last_stage_is_told(one, clock):
    await one.make("TOKEN", sets_expiry=True, expires_at=clock.now_us() + 30 * DAY)
    clock.advance(40 * 86_400)
    await one.watch.tell_expiry()
    await one.watch.tell_expiry()
    assert await told(one) == ["variable.expired"]


async def test_stages_that_lie_behind_when_the_expiry_is_set_are_not_told(one, clock):
    await one.make("TOKEN", sets_expiry=True, expires_at=clock.now_us() + 2 * DAY)
    await one.watch.tell_expiry()
    assert await told(one) == []
    clock.advance(86_400)
    await one.watch.tell_expiry()
    assert await told(one) == ["variable.expiring"]


async def test_there_is_room_for_so_many_variables_and_no_more(one, monkeypatch):
    monkeypatch.setattr(variable_changes, "VARIABLES_MAX", 1)
    await one.make("A")
    with pytest.raises(ResourceExhausted, match="as many as fit"):
        await one.make("B")


async def test_the_values_of_all_variables_have_a_limit(one, monkeypatch):
    monkeypatch.setattr(variable_changes, "TOTAL_BYTES_MAX", 100)
    await one.make("A", "x" * 80, secret=False)
    with pytest.raises(ResourceExhausted, match="files"):
        await one.make("B", "x" * 80, secret=False)


def test_a_secret_is_nowhere_in_the_open_database(sqlite_url):
    import asyncio  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    async def write():
        controller = await Controller(sqlite_url, ManualClock()).start()
        await controller.make("TOKEN", "a very secret value")
        await controller.rotate()
        await controller.store.stop()

    asyncio.run(write())
    with reading(open_database(sqlite_url).main) as tx:
        assert variables.find_variable(tx, ADMIN, "TOKEN") is not None
    for file in Path(sqlite_url).parent.iterdir():
        assert b"a very secret value" not in file.read_bytes()
