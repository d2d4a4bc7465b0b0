"""`pg_dump` and `pg_restore` as they are on this host.

The connection goes to them by environment: a URL among the arguments would
show its password to everybody on the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from kronforce.host.opening import HostError

# What libpq reads, by the names that a URL has for it.
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "options": "PGOPTIONS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "channel_binding": "PGCHANNELBINDING",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


def dump(url: str, schema: str, tables: Sequence[str], target: Path) -> None:
    """One consistent snapshot of these tables. Raises HostError."""
    named = [f"--table={_quoted(schema)}.{_quoted(table)}" for table in tables]
    _run(
        ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={target}", *named],
        _environment(url),
    )


def load(url: str, source: Path) -> None:
    """Make what a dump holds, all of it or nothing. Raises HostError."""
    _run(
        [
            *("pg_restore", "--no-owner", "--no-privileges", "--single-transaction"),
            *("--exit-on-error", "--dbname=", str(source)),
        ],
        _environment(url),
    )


def check(source: Path) -> None:
    """Let pg_restore read a dump through. Raises HostError."""
    _run(["pg_restore", "--file=/dev/null", str(source)], {})


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _run(command: Sequence[str], environ: Mapping[str, str]) -> None:
    tool = command[0]
    if shutil.which(tool) is None:
        raise HostError(
            f"{tool} is not on this host: install PostgreSQL's client programs (Debian:"
            " postgresql-client), at least as new as the server"
        )
    done = subprocess.run(
        command,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise HostError(f"{tool} failed: {said}")


def _environment(url: str) -> Mapping[str, str]:
    # Loaded here: without PostgreSQL the driver need not be installed.
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    found = conninfo_to_dict("postgresql://" + url.split("://", 1)[1])
    unknown = sorted(set(found) - set(_VARIABLES))
    if unknown:
        raise HostError(
            f"the database's URL sets {', '.join(unknown)}, which pg_dump cannot be told"
        )
    return {_VARIABLES[name]: str(value) for name, value in found.items() if value is not None}
