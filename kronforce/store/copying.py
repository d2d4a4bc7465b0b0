"""A consistent copy of SQLite files while somebody writes to them.

Both files are read at one moment each, the main one first: what its rows refer
to in the output file is there. A read transaction keeps that moment for as
long as the copy takes; without it SQLite begins again with every commit of the
controller and, under load, never ends. Writers are not held up; their log
grows meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from kronforce.store.database import BUSY_MS

# Pages a step (4 MiB): what progress is told by.
STEP_PAGES = 1_024

Progress = Callable[[int, int], None]
"""Bytes copied, and bytes in all."""


class DamagedError(Exception):
    """SQLite says that a file is not whole; the message is its own first finding."""


def copy_files(pairs: Sequence[tuple[Path, Path]], progress: Progress) -> None:
    """Copy each (source, target). Raises sqlite3.Error where a file cannot be read or written."""
    sources = [_at_this_moment(source) for source, _ in pairs]
    try:
        sizes = [_bytes_in(source) for source in sources]
        done = 0
        for source, size, (_, target) in zip(sources, sizes, pairs, strict=True):
            _copy(source, target, partial(_further, progress, done, sum(sizes)))
            done += size
    finally:
        for source in sources:
            source.close()


def _further(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _at_this_moment(path: Path) -> sqlite3.Connection:
    source = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None)
    source.execute("BEGIN")
    # The read that the transaction begins with; until then it has no moment.
    source.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return source


def _bytes_in(source: sqlite3.Connection) -> int:
    pages = int(source.execute("PRAGMA page_count").fetchone()[0])
    return pages * int(source.execute("PRAGMA page_size").fetchone()[0])


def _copy(source: sqlite3.Connection, target: Path, progress: Callable[[int], None]) -> None:
    size = int(source.execute("PRAGMA page_size").fetchone()[0])
    target.touch(mode=0o600)
    with closing(sqlite3.connect(target)) as copy:
        # Nobody else sees it, and whoever made it begins anew where this fails.
        copy.execute("PRAGMA synchronous = OFF")
        source.backup(
            copy,
            pages=STEP_PAGES,
            progress=lambda _status, left, pages: progress((pages - left) * size),
        )
        copy.execute("PRAGMA journal_mode = DELETE")


def check_file(path: Path, *, thorough: bool) -> None:
    """Let SQLite look through a file that nobody writes to. Raises DamagedError."""
    pragma = "integrity_check(1)" if thorough else "quick_check(1)"
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as file:
            found = file.execute(f"PRAGMA {pragma}").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise DamagedError(str(error)) from error
    if found != "ok":
        raise DamagedError(str(found).splitlines()[-1])
