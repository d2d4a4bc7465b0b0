"""The keys that lie in the data folder and belong to its database.

`secrets.key` opens its secrets, `audit.key` signs its audit log, `admin.key`
is for its people. A backup without the first two is half of one, so both are
held against the database before they are packed and after they are put back.
"""

from __future__ import annotations

from pathlib import Path

from kronforce import audit_key, master_key
from kronforce.config import CannotStart, Config
from kronforce.host.opening import HostError
from kronforce.store import secret_keys
from kronforce.store.audit_chain import Signer, book_holds
from kronforce.store.database import Tx

PATTERN = "*.key"
SECRETS = master_key.FILE


def in_folder(config: Config) -> list[Path]:
    """Every key file of the data folder."""
    found = config.data_dir.glob(PATTERN) if config.data_dir.is_dir() else ()
    return sorted(path for path in found if path.is_file())


def to_pack(config: Config, tx: Tx) -> list[Path]:
    """What goes into a backup. Raises HostError where the folder is not this database's."""
    files = in_folder(config)
    if audit_key.FILE not in {path.name for path in files}:
        raise HostError(
            f"there is no {config.data_dir / audit_key.FILE}: name the controller's own data folder"
            " with --data-dir, or say --no-keys if you keep its keys elsewhere"
        )
    if trouble := secrets_trouble(config, tx):
        raise HostError(f"{trouble}; or leave all keys out with --no-keys")
    return files


def secrets_trouble(config: Config, tx: Tx) -> str:
    """Why a controller of this folder could not read the database's secrets; empty: it can."""
    rows = secret_keys.all_keys(tx)
    if not rows:
        return ""
    try:
        master_key.opened(config, rows)
    except CannotStart as error:
        return str(error)
    return ""


def audit_trouble(config: Config, tx: Tx) -> str:
    """Why the audit log would not hold under this folder's key; empty: it does."""
    path = config.data_dir / audit_key.FILE
    try:
        holds = book_holds(tx, Signer(audit_key.read_from(config.data_dir)))
    except FileNotFoundError:
        return f"there is no {path}, with which the audit log was signed: put it there first"
    except CannotStart as error:
        return str(error)
    return "" if holds else f"{path} is not the key that the audit log was signed with"
