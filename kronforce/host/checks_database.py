"""The database: there, of this version's schema, whole, and of the same time as this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from kronforce.clock import to_us
from kronforce.host.findings import Finding, Surroundings, fine, size, warning, wrong
from kronforce.host.opening import HostError, opened
from kronforce.host.running import running
from kronforce.store import examining
from kronforce.store.database import reading
from kronforce.store.migrate import SchemaState, schema_states

# As long as a person waits; at some hundred MiB/s enough for a few GiB.
QUICK_SECS = 20.0
# Four times what the log is cut back to (`journal_size_limit`): somebody has read for long.
WAL_LARGE = 256 << 20
# What is newer than now was written under another clock; the first is a matter of NTP.
AHEAD_SECS = 2.0
FAR_AHEAD_SECS = 60.0


def database(where: Surroundings) -> Iterator[Finding]:
    """Reachable, its schema this version's, nothing in it from the future."""
    if where.config.sqlite and not Path(where.config.db).exists():
        yield warning(
            "database",
            f"there is no {where.config.db} yet",
            "kronforce up makes it; another one is named with --db",
        )
        return
    try:
        yield from _inside(where)
    except HostError as error:
        message, _, way_out = str(error).partition(";")
        yield wrong("database", message, way_out.strip() or "see --db and KRONFORCE_DB")


def _inside(where: Surroundings) -> Iterator[Finding]:
    with ExitStack() as stack:
        opened_now = stack.enter_context(opened(where.config))
        states = schema_states(opened_now)
        tx = stack.enter_context(reading(opened_now.main))
        facts = examining.facts(tx)
        yield fine("database", f"{facts.server}, {size(facts.size)}, {opened_now.location}")
        yield _schema(where, states)
        if all(each.current == each.newest for each in states):
            yield _time(where, examining.newest_instant(tx))


def _schema(where: Surroundings, states: list[SchemaState]) -> Finding:
    stands = ", ".join(f"{each.part} {each.current or 'none'}" for each in states)
    if not all(each.known for each in states):
        return wrong(
            "schema",
            f"{stands}: made by a newer version of Kronforce",
            "install that version, or restore what was kept before the upgrade",
        )
    if not any(each.pending for each in states):
        return fine("schema", stands)
    newest = ", ".join(f"{each.part} {each.newest}" for each in states)
    text = f"{stands}; this version needs {newest}"
    if where.config.sqlite:
        return warning(
            "schema", text, "the next start migrates, after a copy; or kronforce db migrate"
        )
    return wrong("schema", text, "kronforce backup, stop the controller, then kronforce db migrate")


def _time(where: Surroundings, newest: int | None) -> Finding:
    ahead = 0.0 if newest is None else (newest - to_us(where.clock.now())) / 1e6
    if ahead > AHEAD_SECS:
        far = wrong if ahead > FAR_AHEAD_SECS else warning
        return far(
            "time",
            f"the database is {ahead:,.0f} s ahead of this machine's clock",
            "set the clock of this machine, and of the database's host (chrony,"
            " systemd-timesyncd); until then schedules and leases go wrong",
        )
    return fine("time", "nothing in the database is ahead of this machine's clock")


def integrity(where: Surroundings) -> Iterator[Finding]:
    """SQLite's own check of both files, bounded unless all of it is wanted."""
    if not where.config.sqlite or not Path(where.config.db).exists():
        return
    limit = None if where.thorough else QUICK_SECS
    for path in examining.files(where.config.db):
        yield from _whole(path, limit, where)


def _whole(path: Path, limit: float | None, where: Surroundings) -> Iterator[Finding]:
    try:
        finished = examining.check(path, limit_secs=limit, monotonic=where.clock.monotonic)
    except examining.DamagedError as error:
        yield wrong(
            "integrity",
            f"{path} is damaged: {error}",
            "stop the controller, keep a copy of the files, then kronforce restore FILE --force",
        )
        return
    done = f"{path.name} is whole, {size(path.stat().st_size)}"
    if not finished:
        yield warning(
            "integrity",
            f"{path.name}: no damage found in {limit:.0f} s, but not all of it was read",
            "kronforce doctor --thorough takes the time",
        )
    else:
        yield fine("integrity", done)


def write_ahead_log(where: Surroundings) -> Iterator[Finding]:
    """A log that does not shrink means that somebody reads and never ends."""
    if not where.config.sqlite:
        return
    for path in examining.files(where.config.db):
        log = path.with_name(path.name + "-wal")
        found = log.stat().st_size if log.exists() else 0
        if found > WAL_LARGE:
            stop = (
                "restart the controller"
                if running(where.config.data_dir, where.proc)
                else ("start the controller, which writes it back")
            )
            yield warning(
                "write-ahead log",
                f"{log.name} has {size(found)}: somebody reads the database and never ends",
                f"end whatever else has {path.name} open (lsof {path}); or {stop}",
            )
