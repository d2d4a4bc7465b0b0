"""The master key of secrets: read or made at start, and held against what the store keeps.

It comes from KRONFORCE_SECRETS_KEY or --secrets-key-file, else from `secrets.key`
in the data folder, which is made at the first start. A database whose secrets
were written under another key is not served: nothing would be readable, and a
new key beside it would hide that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kronforce import data_dir
from kronforce.config import CannotStart, Config
from kronforce.security.envelope import (
    CannotOpen,
    Keyring,
    MasterKey,
    StoredKey,
    new_master_key,
    parse_master_key,
)
from kronforce.store import secret_keys
from kronforce.store.store import Store
from kronforce.telemetry import logs

FILE = "secrets.key"

log = logs.logger("start")


async def open_keyring(config: Config, *, store: Store) -> Keyring:
    """The keys of this database's secrets. Raises CannotStart."""
    return opened(config, await store.read(secret_keys.all_keys))


def opened(config: Config, rows: Sequence[StoredKey]) -> Keyring:
    """The same for the rows of a store. Where there are none a key may be made."""
    master, where = _master_key(config, needed=bool(rows))
    keyring = Keyring(master)
    try:
        keyring.keep_only(rows)
    except CannotOpen as error:
        raise CannotStart(
            f"the master key in {where} is not the one that this database's secrets were written"
            f" under; {_WAYS}"
        ) from error
    return keyring


_WAYS = (
    "give the right one (KRONFORCE_SECRETS_KEY, --secrets-key-file, or secrets.key in the data"
    " folder, from a backup of it); if it is lost, docs/variables.md says how to begin anew"
)


def _master_key(config: Config, *, needed: bool) -> tuple[MasterKey, str]:
    """The key and the place that it came from; made where none is given and none is needed."""
    if config.secrets_key:
        return _parsed(config.secrets_key, "KRONFORCE_SECRETS_KEY")
    path = config.secrets_key_file or config.data_dir / FILE
    if config.secrets_key_file is None and not path.exists():
        if needed:
            raise CannotStart(
                f"the master key of this database's secrets is missing: there is no {path}; {_WAYS}"
            )
        data_dir.write_private(path, new_master_key() + "\n")
        log.info("the master key of secrets is in a file: keep a copy of it apart from the data",
                 action="secrets_key.made", path=str(path))  # fmt: skip
    return _parsed(_read(path), str(path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise CannotStart(f"cannot read the master key {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CannotStart(f"{path} does not hold a master key: it is not text") from error


def _parsed(text: str, where: str) -> tuple[MasterKey, str]:
    try:
        return parse_master_key(text), where
    except ValueError as error:
        raise CannotStart(
            f"{where} does not hold a master key: {error}; it is 32 random bytes in base64, for"
            " example of `openssl rand -base64 32`"
        ) from error
