"""What a controller makes for its own host: the first admin key, the built-in agent's credential.

Both are files that only the owner reads. The admin key is made once, when no
admin key works; the credential anew at each start of `kronforce up`.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from kronforce import data_dir
from kronforce.clock import Clock
from kronforce.config import CannotStart, Config
from kronforce.core import ids
from kronforce.security import keys
from kronforce.security.secret import Secret
from kronforce.store import keys as stored_keys
from kronforce.store.database import Tx
from kronforce.store.store import Store
from kronforce.telemetry import logs
from kronforce.v1 import api_key_pb2

ADMIN_KEY = "admin.key"
ADMIN_NAME = "admin"

# In the agent's own folder, and in its own form (`kronforce_agent.enrolment`).
CREDENTIAL = "credential"

log = logs.logger("start")


async def ensure_admin_key(
    config: Config, *, store: Store, clock: Clock, new_id: Callable[[], bytes]
) -> None:
    """Make the first admin key, or take KRONFORCE_BOOTSTRAP_ADMIN_KEY's value for it."""
    brought = config.bootstrap_admin_key
    if brought and not keys.is_api_key(brought):
        raise CannotStart(
            "KRONFORCE_BOOTSTRAP_ADMIN_KEY is not a key: `kf_` and at least 32 characters, for"
            " example kf_$(openssl rand -hex 32)"
        )
    secret = Secret(brought) if brought else keys.new_api_key()
    digest, now = keys.hash_of(secret.reveal()), clock.now_us()
    if await store.read(_is_not_needed, digest, now):
        return
    path = config.data_dir / ADMIN_KEY
    # Before the commit: a key that nobody could read must not be left behind, by a full disk or
    # a power cut. One that works nowhere yet does no harm; the next start makes another.
    data_dir.write_private(path, secret.reveal() + "\n")
    if not await store.write(_insert_if_none, secret, new_id(), now):
        return
    log.info("the admin key is in a file", action="key.bootstrapped", path=str(path))


def _is_not_needed(tx: Tx, digest: bytes, now: int) -> bool:
    return bool(stored_keys.count_admins(tx, now) or stored_keys.get_key_by_hash(tx, digest))


def _insert_if_none(tx: Tx, secret: Secret, new_id: bytes, now: int) -> bool:
    digest = keys.hash_of(secret.reveal())
    if _is_not_needed(tx, digest, now):
        return False
    stored_keys.insert_key(
        tx,
        id=new_id,
        name=ADMIN_NAME,
        role=api_key_pb2.ROLE_ADMIN,
        prefix=keys.shown_prefix(secret),
        hash=digest,
        allowed_groups=(),
        allowed_networks=(),
        created_at=now,
        expires_at=None,
    )
    return True


def write_built_in_credential(
    config: Config, *, agent_id: bytes, credential: Secret, ca_pem: str
) -> None:
    """Hand the built-in agent what it calls with, where every agent keeps its own."""
    folder = config.data_dir / f"agent-{config.agent_name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    content = {
        "agent_id": ids.to_text(agent_id),
        "secret": credential.reveal(),
        "ca_pem": ca_pem,
    }
    data_dir.write_private(folder / CREDENTIAL, json.dumps(content))
