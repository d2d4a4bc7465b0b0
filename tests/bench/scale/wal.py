"""How often a SQLite database was written: the commits that its write-ahead log holds.

Each transaction that changed something ends with a frame that carries the size of the database.
Transactions that changed nothing write nothing, and are not counted.
"""

from __future__ import annotations

import struct
from pathlib import Path

HEADER = 32
FRAME_HEADER = 24


class Restarted(Exception):
    """The log was begun anew meanwhile, after a checkpoint: what was in it cannot be counted."""


def commits(database: Path, since: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """(commits in the log, its salt); raises Restarted if the salt is not that of `since`."""
    log = database.with_name(database.name + "-wal")
    content = log.read_bytes() if log.exists() else b""
    if len(content) < HEADER:
        return 0, since[1]
    (size,) = struct.unpack_from(">I", content, 8)
    (salt,) = struct.unpack_from(">Q", content, 16)
    if since[1] and salt != since[1]:
        raise Restarted
    count = 0
    for at in range(HEADER, len(content) - FRAME_HEADER - size + 1, FRAME_HEADER + size):
        _, committed, of = struct.unpack_from(">IIQ", content, at)
        if of != salt:
            break
        count += committed > 0
    return count, salt
