"""`kronforce doctor`: every check of this host, one after the other.

Nothing is changed, and a controller that runs is not disturbed. A check that
fails by itself is a finding too: what goes wrong with one thing must not hide
the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from kronforce.host import (
    checks_agents,
    checks_database,
    checks_folder,
    checks_host,
    checks_network,
    checks_sqlite,
)
from kronforce.host.findings import Check, Finding, Surroundings, warning
from kronforce.host.opening import HostError

CHECKS: Sequence[tuple[str, Check]] = (
    ("versions", checks_host.versions),
    ("open files", checks_host.open_files),
    ("clock", checks_host.clock),
    ("cgroup", checks_host.task_cgroup),
    ("data folder", checks_folder.data_folder),
    ("key files", checks_folder.key_files),
    ("file system", checks_folder.file_system),
    ("disk", checks_folder.disk),
    ("fsync", checks_folder.fsync_time),
    ("database", checks_database.database),
    ("integrity", checks_sqlite.integrity),
    ("write-ahead log", checks_sqlite.write_ahead_log),
    ("controller", checks_network.controller),
    ("addresses", checks_network.addresses),
    ("tls", checks_network.certificate),
    ("agents", checks_agents.agents),
)


def examine(where: Surroundings, checks: Sequence[tuple[str, Check]] = CHECKS) -> Iterator[Finding]:
    """What each check finds, as soon as it has."""
    forbidden = []
    for name, check in checks:
        try:
            yield from check(where)
        except PermissionError:
            forbidden.append(name)
        except (OSError, HostError) as error:
            yield warning(name, f"could not be looked at: {error}", "see above, and its log")
    if forbidden:
        yield warning(
            "not looked at",
            f"{', '.join(forbidden)}: user {os.geteuid()} may not",
            "run it as the controller's user, or as root",
        )
