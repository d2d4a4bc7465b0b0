"""A new admin key for whoever may write to the data folder: the way back in after losing the last.

Access to the host is the authority, as it is for `admin.key`. A running
controller sees the change within a second (`key_revision`). As with every key,
the audit log has it in the same transaction.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from kronforce import data_dir
from kronforce.api.convert.key import to_message
from kronforce.clock import Clock
from kronforce.config import Config
from kronforce.core import ids
from kronforce.engine.auditing import Resource, record
from kronforce.first_start import ADMIN_KEY, ADMIN_NAME
from kronforce.host.audited import HOST, auditing
from kronforce.host.opening import HostError, belongs_to_owner, opened_current
from kronforce.security import keys
from kronforce.security.secret import Secret
from kronforce.store import keys as stored
from kronforce.store.database import Tx
from kronforce.store.events import NewEvent, insert_events
from kronforce.v1.api_key_pb2 import ROLE_ADMIN
from kronforce.v1.event_pb2 import SEVERITY_INFO, SEVERITY_WARNING


@dataclass(frozen=True, kw_only=True, slots=True)
class Reset:
    """What was made and what was ended; the key itself is in the file."""

    name: str
    path: Path
    revoked: tuple[str, ...]


def reset(config: Config, clock: Clock, *, revoke_others: bool) -> Reset:
    """Make an admin key and write it to `admin.key`. Raises HostError.

    With `revoke_others` every other admin key ends for good.
    """
    if not config.data_dir.is_dir():
        raise HostError(f"there is no data folder {config.data_dir}; name it with --data-dir")
    secret = keys.new_api_key()
    now = clock.now_us()
    new_id = ids.IdSource(clock, random.SystemRandom())()
    path = config.data_dir / ADMIN_KEY
    with opened_current(config) as database:
        # Before the commit: a key that nobody could read must not be left behind.
        staged = _stage(config.data_dir, secret)
        try:
            with auditing(config, database, clock) as tx:
                name, revoked = _make(tx, secret, new_id, now, revoke_others=revoke_others)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        staged.replace(path)
        data_dir.sync_folder(config.data_dir)
    return Reset(name=name, path=path, revoked=tuple(revoked))


def _stage(folder: Path, secret: Secret) -> Path:
    staged = folder / (ADMIN_KEY + ".reset")
    data_dir.write_private(staged, secret.reveal() + "\n")
    belongs_to_owner(staged, folder)
    return staged


def _make(
    tx: Tx, secret: Secret, new_id: bytes, now: int, *, revoke_others: bool
) -> tuple[str, list[str]]:
    made = stored.insert_key(
        tx,
        id=new_id,
        name=_free_name(tx),
        role=ROLE_ADMIN,
        prefix=keys.shown_prefix(secret),
        hash=keys.hash_of(secret.reveal()),
        allowed_groups=(),
        allowed_networks=(),
        created_at=now,
        expires_at=None,
    )
    _tell(tx, "key.created", SEVERITY_INFO, None, made, now)
    # Read now: the insert has made whoever else changes keys wait.
    others = [row for row in stored.living_admins(tx) if row.key != made.key]
    for other in others if revoke_others else ():
        gone = stored.revoke_key(tx, ids.to_text(other.id), now)
        assert gone is not None
        _tell(tx, "key.revoked", SEVERITY_WARNING, other, gone, now)
    return made.name, [other.name for other in others if revoke_others]


def _free_name(tx: Tx) -> str:
    """`admin`, or the first of `admin-2`, `admin-3`… that no living key has."""
    number = 1
    name = ADMIN_NAME
    while stored.find_key(tx, name) is not None:
        number += 1
        name = f"{ADMIN_NAME}-{number}"
    return name


def _tell(
    tx: Tx, kind: str, severity: int, before: stored.KeyRow | None, row: stored.KeyRow, now: int
) -> None:
    message = f"key {row.name} was {kind.rpartition('.')[2]} at the data folder"
    event = NewEvent(kind=kind, severity=severity, at=now, message=message, actor=HOST.name)
    insert_events(tx, [event])
    resource = Resource(type="key", id=ids.to_text(row.id), name=row.name)
    record(tx, HOST, now, kind, resource, before=to_message(before) if before else None,
           after=to_message(row))  # fmt: skip
