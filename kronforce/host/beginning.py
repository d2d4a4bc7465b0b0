"""The last step of every restore: the new history, told by an event and an audit entry.

The entry is signed with the `audit.key` that the restored log was signed with.
Where that is not at hand, there is none: another key would break the log for
good, and whoever puts the key back later finds it whole.
"""

from __future__ import annotations

from pathlib import Path

from kronforce import audit_key
from kronforce.clock import Clock
from kronforce.config import CannotStart
from kronforce.engine.auditing import Resource, record
from kronforce.host.archive import Manifest
from kronforce.host.audited import HOST
from kronforce.store import new_history
from kronforce.store.audit_chain import AuditChain, book_holds
from kronforce.store.database import Tx


def begin(tx: Tx, manifest: Manifest, clock: Clock, folders: tuple[Path, ...]) -> int:
    """Begin it in this transaction; the last fence that may be of the forgotten history.

    The audit log's key is looked for in the folders, in this order.
    """
    message = f"restored from a backup of {manifest.created_at}"
    now = clock.now_us()
    fence = new_history.begin(tx, now=now, message=message)
    key = _key(folders)
    if key is not None:
        chain = AuditChain(key, clock.now_us)
        if book_holds(tx, chain.signer):
            details = {"backup_of": manifest.created_at, "version": manifest.version}
            record(tx, HOST, now, "store.restored", Resource(type="store"), details=details)
            chain.write(tx, tx.noted)
            tx.noted.clear()
    return fence


def _key(folders: tuple[Path, ...]) -> bytes | None:
    for folder in folders:
        try:
            return audit_key.read_from(folder)
        except (FileNotFoundError, CannotStart):
            continue
    return None
