"""A new admin key at the data folder: what it makes, what it ends, what it leaves alone."""

from pathlib import Path

import pytest

from kronforce.audit_key import FILE, audit_key
from kronforce.clock import SystemClock
from kronforce.config import Config
from kronforce.core.access import Role, Scope
from kronforce.host import admin_key
from kronforce.host.opening import HostError
from kronforce.security import keys
from kronforce.store import audit
from kronforce.store import keys as stored
from kronforce.store.audit_chain import Signer
from kronforce.store.database import reading, writing
from kronforce.store.events import list_events
from kronforce.store.paging import PageRequest
from kronforce.v1.api_key_pb2 import ROLE_ADMIN, ROLE_VIEWER
from tests.store.test_audit_verify import verify

CLOCK = SystemClock()
ADMIN = Scope(principal_id="x", role=Role.ADMIN)


@pytest.fixture
def config(store_url, tmp_path) -> Config:
    config = Config(data_dir=tmp_path, db=store_url)
    audit_key(config)
    return config


def add(database, name: str, role: int) -> None:
    with writing(database.main) as tx:
        stored.insert_key(
            tx, id=name.encode().ljust(16), name=name, role=role, prefix="kf_x",
            hash=name.encode().ljust(32), allowed_groups=(), allowed_networks=(), created_at=1,
            expires_at=None,
        )  # fmt: skip


def found_by(database, path: Path) -> stored.KeyRow | None:
    with reading(database.main) as tx:
        return stored.get_key_by_hash(tx, keys.hash_of(path.read_text().strip()))


def test_the_key_in_the_file_is_an_admins_and_the_file_is_the_owners_alone(config, database):
    made = admin_key.reset(config, CLOCK, revoke_others=False)

    row = found_by(database, made.path)
    assert row is not None
    assert (row.name, row.role) == (made.name, ROLE_ADMIN) == ("admin", ROLE_ADMIN)
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert list(config.data_dir.glob("admin.key*")) == [made.path]


def test_other_keys_stay_unless_they_are_to_be_revoked(config, database):
    add(database, "admin", ROLE_ADMIN)
    add(database, "boss", ROLE_ADMIN)
    add(database, "watcher", ROLE_VIEWER)

    first = admin_key.reset(config, CLOCK, revoke_others=False)
    assert (first.name, first.revoked) == ("admin-2", ())

    second = admin_key.reset(config, CLOCK, revoke_others=True)
    assert second.name == "admin-3"
    assert second.revoked == ("admin", "boss", "admin-2")
    with reading(database.main) as tx:
        assert [row.name for row in stored.living_admins(tx)] == ["admin-3"]
        assert stored.find_key(tx, "watcher").revoked_at is None


def test_a_running_controller_is_told_by_the_number_it_reads_and_by_an_event(config, database):
    with reading(database.main) as tx:
        before = stored.key_revision(tx)

    made = admin_key.reset(config, CLOCK, revoke_others=False)

    with reading(database.main) as tx:
        assert stored.key_revision(tx) > before
        event = list_events(tx, ADMIN, page=PageRequest(size=1)).items[0]
    assert (event.kind, event.actor) == ("key.created", "host")
    assert made.name in event.message


def test_the_audit_log_has_it_and_still_holds(config, database):
    add(database, "boss", ROLE_ADMIN)

    admin_key.reset(config, CLOCK, revoke_others=False)
    admin_key.reset(config, CLOCK, revoke_others=True)

    with reading(database.main) as tx:
        checked = verify(tx, Signer(audit_key(config)))
        found = audit.list_audit(tx, page=PageRequest(size=10)).items
    assert (checked.faults, checked.chains, checked.entries) == ([], 2, 4)
    assert sorted((row.operation, row.resource_name, row.actor, row.surface) for row in found) == [
        ("key.created", "admin", "host", "host"),
        ("key.created", "admin-2", "host", "host"),
        ("key.revoked", "admin", "host", "host"),
        ("key.revoked", "boss", "host", "host"),
    ]
    secret = (config.data_dir / "admin.key").read_text().strip()
    assert not any(secret.encode() in row.detail for row in found)


def test_a_folder_whose_audit_key_is_missing_or_another_is_not_the_controllers(config, database):
    admin_key.reset(config, CLOCK, revoke_others=False)
    before = (config.data_dir / "admin.key").read_text()

    (config.data_dir / FILE).unlink()
    with pytest.raises(HostError, match="with which the audit log is signed"):
        admin_key.reset(config, CLOCK, revoke_others=True)
    audit_key(config)
    with pytest.raises(HostError, match="is not the key"):
        admin_key.reset(config, CLOCK, revoke_others=True)

    assert (config.data_dir / "admin.key").read_text() == before
    assert list(config.data_dir.glob("*.reset")) == []


def test_a_schema_of_another_version_is_left_alone(config, database):
    with writing(database.main) as tx:
        tx.conn.exec_driver_sql("UPDATE schema_version SET version_num = '0001'")

    with pytest.raises(HostError, match="db current"):
        admin_key.reset(config, CLOCK, revoke_others=False)

    assert not (config.data_dir / "admin.key").exists()


def test_a_folder_or_a_database_that_is_not_there_is_not_made(tmp_path):
    nowhere = tmp_path / "nowhere"
    with pytest.raises(HostError, match="--data-dir"):
        admin_key.reset(Config(data_dir=nowhere, db="x"), CLOCK, revoke_others=False)
    with pytest.raises(HostError, match="no database"):
        admin_key.reset(
            Config(data_dir=tmp_path, db=str(nowhere / "k.db")), CLOCK, revoke_others=False
        )
    assert not nowhere.exists()
