"""The key that signs where audit chains begin and end: `audit.key` in the data folder.

Made at the first start, private to its owner, and part of every backup: without
it nobody can tell whether the log's bounds are those that were written, and
`audit verify` says so. Whoever can write the database but not this file cannot
cut the log's ends off unseen.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from pathlib import Path

from kronforce import data_dir
from kronforce.config import CannotStart, Config
from kronforce.telemetry import logs

FILE = "audit.key"
KEY_BYTES = 32

log = logs.logger("start")


def audit_key(config: Config) -> bytes:
    """The key, made where there is none. Raises CannotStart."""
    path = config.data_dir / FILE
    if not path.exists():
        made = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
        data_dir.write_private(path, made + "\n")
        log.info("the key that signs the audit log is in a file: keep a copy of it",
                 action="audit_key.made", path=str(path))  # fmt: skip
    return read_from(config.data_dir)


def read_from(folder: Path) -> bytes:
    """The key that is there. Raises FileNotFoundError, or CannotStart where it is none."""
    path = folder / FILE
    try:
        key = base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, binascii.Error) as error:
        raise CannotStart(f"cannot read the audit log's key {path}: {error}") from error
    if len(key) != KEY_BYTES:
        raise CannotStart(
            f"{path} does not hold the audit log's key, {KEY_BYTES} bytes in base64: put it back"
            " from a backup, or move it away, and audit verify will not know what was before"
        )
    return key
