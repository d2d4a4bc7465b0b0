"""The master key at start: made once, and held against what the store keeps, on both stores."""

import random
import stat

import pytest

from kronforce.clock import ManualClock
from kronforce.config import CannotStart, Config
from kronforce.core.ids import IdSource
from kronforce.engine.values import key_rotation
from kronforce.master_key import FILE, open_keyring
from kronforce.security.envelope import new_master_key
from kronforce.store import secret_keys
from kronforce.store.store import Store


@pytest.fixture
async def store(database):
    made = Store(database, ManualClock())
    await made.start()
    yield made
    await made.stop()


def config(folder, **fields):
    return Config(data_dir=folder, db="", **fields)


async def start(store, settings):
    """Open the keys and make the first, as a controller does."""
    keyring = await open_keyring(settings, store=store)
    new_id = IdSource(ManualClock(), random.Random(1))
    await key_rotation.ensure_key(store, keyring, key_id=new_id(), now=1)
    return keyring


async def test_the_first_start_makes_a_private_file_and_later_ones_read_it(store, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    await start(store, config(folder))
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    text = (folder / FILE).read_text()

    keyring = await start(store, config(folder))
    assert (folder / FILE).read_text() == text
    [row] = await store.read(secret_keys.all_keys)
    assert keyring.key_of(row).id == row.id


async def test_a_missing_key_refuses_to_start_where_secrets_were_written(store, tmp_path):
    await start(store, config(tmp_path))
    (tmp_path / FILE).unlink()
    with pytest.raises(CannotStart, match=r"missing.*backup"):
        await open_keyring(config(tmp_path), store=store)
    assert not (tmp_path / FILE).exists()


async def test_another_key_refuses_to_start_by_the_canary(store, tmp_path):
    await start(store, config(tmp_path))
    with pytest.raises(CannotStart, match=r"KRONFORCE_SECRETS_KEY is not the one"):
        await open_keyring(config(tmp_path, secrets_key=new_master_key()), store=store)


async def test_a_key_that_is_given_is_kept_in_no_file(store, tmp_path):
    await start(store, config(tmp_path, secrets_key=new_master_key()))
    assert not (tmp_path / FILE).exists()


async def test_a_key_comes_from_a_file_that_is_named(store, tmp_path):
    named = tmp_path / "master"
    named.write_text(new_master_key() + "\n")
    await start(store, config(tmp_path, secrets_key_file=named))
    named.unlink()
    with pytest.raises(CannotStart, match="cannot read the master key"):
        await open_keyring(config(tmp_path, secrets_key_file=named), store=store)


@pytest.mark.parametrize("text", ["", "YWJj", "not base64 at all", "é"])
async def test_a_file_without_a_key_is_named(store, tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(CannotStart, match=r"secrets\.key does not hold a master key"):
        await open_keyring(config(tmp_path), store=store)


async def test_a_database_whose_secrets_were_given_up_takes_a_new_key(store, tmp_path):
    await start(store, config(tmp_path))
    (tmp_path / FILE).unlink()
    await store.write(lambda tx: tx.conn.exec_driver_sql("DELETE FROM secret_keys"))
    await start(store, config(tmp_path))
    assert len(await store.read(secret_keys.all_keys)) == 1
