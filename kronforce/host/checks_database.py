"""The database: reached, of this schema, with the keys that fit, in step with our time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from kronforce.host import key_files
from kronforce.host.findings import Finding, Surroundings, fine, size, warning, wrong
from kronforce.host.opening import HostError, opened
from kronforce.store import examining
from kronforce.store.database import Tx, output_file, reading
from kronforce.store.revisions import SchemaState, schema_states

# A second or two is a matter of NTP; beyond a minute leases and schedules go wrong.
APART_SECS = 2.0
FAR_APART_SECS = 60.0
# Rows that were deleted since then are still there, and every query walks over them.
OLD_TRANSACTIONS = 5_000_000
POSTGRESQL_TOOLS = ("pg_dump", "pg_restore")


def database(where: Surroundings) -> Iterator[Finding]:
    """Whether it can be used, as a controller would use it."""
    main = Path(where.config.db)
    if where.config.sqlite and not main.exists():
        way_out = "kronforce up makes it; another one is named with --db"
        yield warning("database", f"there is no {main} yet", way_out)
    elif where.config.sqlite and not output_file(main).exists():
        # Opening it would make an empty one.
        yield wrong(
            "database",
            f"{main} is there, and {output_file(main).name} beside it is not: output is missing",
            "put it back, or kronforce restore FILE --force",
        )
    else:
        try:
            yield from _inside(where)
        except HostError as error:
            message, _, way_out = str(error).partition("; ")
            yield wrong("database", message, way_out or "see --db and KRONFORCE_DB")


def _inside(where: Surroundings) -> Iterator[Finding]:
    with opened(where.config) as found:
        states = schema_states(found)
        with reading(found.main) as tx:
            facts = examining.facts(tx)
            yield fine("database", f"{facts.server}, {size(facts.size)}, {found.location}")
            yield _schema(where, states)
            if all(each.current == each.newest for each in states):
                yield from _keys(where, tx)
                yield from _time(where, tx, facts)
        if not where.config.sqlite:
            yield from _postgresql(facts)


def _schema(where: Surroundings, states: list[SchemaState]) -> Finding:
    stands = ", ".join(f"{each.part} {each.current or 'none'}" for each in states)
    newest = ", ".join(f"{each.part} {each.newest}" for each in states)
    if all(each.current is None for each in states):
        return warning("schema", "it is empty", "the first start makes its tables: kronforce up")
    if any(each.restoring for each in states):
        way_out = "kronforce restore FILE --force"
        return wrong("schema", "a restore into it was not finished: no controller starts", way_out)
    if not all(each.known for each in states):
        return wrong(
            "schema",
            f"{stands}: made by a newer version; this one knows up to {newest}",
            "install that version, or restore the copy from before the upgrade",
        )
    if not any(each.pending for each in states):
        return fine("schema", f"{stands}: this version's")
    text = f"{stands}; this version needs {newest}"
    if where.config.sqlite:
        way_out = "the next start migrates it, after a copy beside it; or kronforce db migrate"
        return warning("schema", text, way_out)
    way_out = "kronforce backup, stop the controller, kronforce db migrate"
    return wrong("schema", f"{text}: no controller starts", way_out)


def _keys(where: Surroundings, tx: Tx) -> Iterator[Finding]:
    """Without the right ones no secret can be read, and the audit log cannot be verified."""
    troubles = (key_files.secrets_trouble(where.config, tx), _audit_trouble(where, tx))
    for trouble in filter(None, troubles):
        message, _, way_out = trouble.partition("; ")
        yield wrong("keys", message, way_out or "put it back from a backup of the data folder")
    if not any(troubles):
        yield fine("keys", "those of secrets and of the audit log fit this database")


def _audit_trouble(where: Surroundings, tx: Tx) -> str:
    return key_files.audit_trouble(where.config, tx) if examining.is_audited(tx) else ""


def _time(where: Surroundings, tx: Tx, facts: examining.Facts) -> Iterator[Finding]:
    """The clock of the database's server, and no event from the future, against our clock."""
    now = where.clock.now_us()
    newest = examining.newest_event_at(tx)
    ahead = 0.0 if newest is None else (newest - now) / 1e6
    apart = 0.0 if facts.server_now is None else (facts.server_now - now) / 1e6
    if abs(apart) > APART_SECS:
        side = "ahead of" if apart > 0 else "behind"
        yield _out_of_step(abs(apart), f"the database's server is {abs(apart):,.1f} s {side} us")
    elif ahead > APART_SECS:
        text = f"the newest event lies {ahead:,.0f} s in the future: the clock was set back"
        yield _out_of_step(ahead, text)
    else:
        yield fine("time", "the database is in step with this machine's clock")


def _out_of_step(secs: float, text: str) -> Finding:
    judge = wrong if secs > FAR_APART_SECS else warning
    return judge(
        "time", text, "run chrony or systemd-timesyncd on every host (timedatectl set-ntp true)"
    )


def _postgresql(facts: examining.Facts) -> Iterator[Finding]:
    missing = [tool for tool in POSTGRESQL_TOOLS if shutil.which(tool) is None]
    if missing:
        yield warning(
            "backup tools",
            f"{' and '.join(missing)} not found, which kronforce backup and restore need",
            "apt install postgresql-client, at least as new as the server",
        )
    if facts.open_since > OLD_TRANSACTIONS:
        yield warning(
            "transactions",
            f"one has been open for {facts.open_since:,} others: what was deleted since stays",
            "end it: SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY xact_start",
        )
