"""SQLite's files: both there, whole, and their log no longer than it should be."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from kronforce.host.findings import Finding, Surroundings, fine, size, warning, wrong
from kronforce.host.running import running
from kronforce.store import examining
from kronforce.store.copying import DamagedError
from kronforce.store.database import output_file

# As long as a person waits; at some hundred MiB/s enough for a few GiB.
QUICK_SECS = 20.0
# Four times what the log is cut back to (`journal_size_limit`): somebody reads and does not end.
WAL_LARGE = 256 << 20


def integrity(where: Surroundings) -> Iterator[Finding]:
    """SQLite's own check of both files, bounded unless all of it is wanted."""
    limit = None if where.thorough else QUICK_SECS
    for path in _files(where):
        try:
            finished = examining.check(
                path,
                limit_secs=limit,
                monotonic=where.clock.monotonic,
                still=partial(where.busy, f"reading {path.name}", 0, 0),
            )
        except DamagedError as error:
            yield wrong(
                "integrity",
                f"{path} is damaged: {error}",
                "stop the controller, keep a copy of the files, kronforce restore FILE --force",
            )
        else:
            yield fine("integrity", f"{path.name} is whole") if finished else _in_part(path)


def _in_part(path: Path) -> Finding:
    return warning(
        "integrity",
        f"{path.name}: no damage in what was read of it in {QUICK_SECS:.0f} s, which is not all",
        "kronforce doctor --thorough takes the time",
    )


def write_ahead_log(where: Surroundings) -> Iterator[Finding]:
    """One that does not shrink means that somebody reads the database and never ends."""
    for path in _files(where):
        log = path.with_name(path.name + "-wal")
        found = log.stat().st_size if log.exists() else 0
        if found > WAL_LARGE:
            lives = running(where.config.data_dir, where.proc)
            then = "restart" if lives else "start"
            yield warning(
                "write-ahead log",
                f"{log} has {size(found)}: another program reads the database and does not end",
                f"lsof {path} says which; end it, or {then} the controller",
            )


def _files(where: Surroundings) -> list[Path]:
    if not where.config.sqlite:
        return []
    main = Path(where.config.db)
    return [path for path in (main, output_file(main)) if path.exists()]
