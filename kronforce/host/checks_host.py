"""The machine: versions, open files, its clock, whether task trees can be ended as one."""

from __future__ import annotations

import contextlib
import json
import platform
import re
import sqlite3
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from kronforce import __version__
from kronforce.host.findings import Finding, Surroundings, fine, warning, wrong
from kronforce.host.running import running
from kronforce_agent.launcher import cgroup

# Streams were measured twice as fast on it as on 1.80 and 1.85 (requirements/constraints.in).
GRPC_MEASURED = "1.76"
GRPC_PARTS = ("grpcio", "grpcio-channelz", "grpcio-health-checking", "grpcio-reflection")
# Each agent and each watcher is a socket of the controller; a hundred are for itself.
FILES_FEW = 1_024
FILES_TOO_FEW = 256
# Beyond this what the kernel says of its clock is no comfort.
CLOCK_ERROR_US = 1_000_000
_LIMIT = re.compile(r"^Max open files\s+(\d+|unlimited)", re.MULTILINE)


def versions(where: Surroundings) -> Iterator[Finding]:
    """What is installed; parts of grpc of different versions do not work together."""
    parts = {name: metadata.version(name) for name in GRPC_PARTS}
    grpc = parts["grpcio"]
    text = (
        f"kronforce {__version__}, Python {platform.python_version()}, grpc {grpc},"
        f" SQLite {sqlite3.sqlite_version}"
    )
    odd = [f"{name} {version}" for name, version in parts.items() if version != grpc]
    if odd:
        yield wrong(
            "versions",
            f"{text}, but {', '.join(odd)}",
            f"pip install {' '.join(f'{name}=={grpc}' for name in GRPC_PARTS)}",
        )
    elif grpc.rpartition(".")[0] != GRPC_MEASURED:
        yield warning(
            "versions",
            f"{text}; this version of Kronforce was measured with grpc {GRPC_MEASURED}",
            "pip install " + " ".join(f"'{name}=={GRPC_MEASURED}.*'" for name in GRPC_PARTS),
        )
    else:
        yield fine("versions", text)


def open_files(where: Surroundings) -> Iterator[Finding]:
    """The controller's limit, or the one that it would start with here."""
    found = running(where.config.data_dir, where.proc)
    whose, pid = ("the controller", str(found.pid)) if found else ("a controller", "self")
    match = _LIMIT.search((where.proc / pid / "limits").read_text(encoding="ascii"))
    if match is None or match[1] == "unlimited":
        yield fine("open files", "unlimited")
        return
    limit = int(match[1])
    verb = "may open" if found else "started here may open"
    text = f"{whose} {verb} {limit:,} files; each agent and each watcher is one"
    way_out = "LimitNOFILE= in its unit (packaging/systemd has 65536), or ulimit -n 65536"
    if limit < FILES_TOO_FEW:
        yield wrong("open files", text, way_out)
    elif limit < FILES_FEW:
        yield warning("open files", text, way_out)
    else:
        yield fine("open files", text)


def clock(where: Surroundings) -> Iterator[Finding]:
    """Whether something keeps the machine's clock right; schedules go by it."""
    found = where.kernel_clock()
    if found is None:
        yield warning(
            "clock",
            "the kernel does not say whether its clock is in step",
            "make sure that chrony or systemd-timesyncd runs, on the host of a container",
        )
    elif not found.in_step or found.error_us > CLOCK_ERROR_US:
        yield warning(
            "clock",
            "nothing keeps this machine's clock in step (NTP), and schedules go by it",
            "run chrony or systemd-timesyncd (timedatectl set-ntp true)",
        )
    else:
        yield fine("clock", f"in step, to within {found.error_us / 1000:.0f} ms")


def task_cgroup(where: Surroundings) -> Iterator[Finding]:
    """Whether a launcher has a cgroup of its own, or could make one where this command runs."""
    launchers = list(_launchers(where))
    if launchers and all(launchers):
        yield fine("cgroup", f"the launcher has its own, {Path(launchers[0]).name}")
    elif launchers:
        yield _without_cgroup("the launcher of this host's agent has none of its own")
    elif folder := _writable(where.proc):
        yield fine("cgroup", f"one can be made here, below {folder}")
    else:
        yield _without_cgroup("no cgroup v2 can be made where this command runs")


def _without_cgroup(why: str) -> Finding:
    return warning(
        "cgroup",
        f"{why}: should agent and launcher both be killed, a task that left its session and"
        " cleared its environment would live on",
        "start it by its systemd unit, which says Delegate=yes, or in a container whose"
        " /sys/fs/cgroup is writable",
    )


def _launchers(where: Surroundings) -> Iterator[str]:
    """The cgroup of each launcher that lives below the data folder; empty: it has none."""
    for path in sorted(where.config.data_dir.glob("agent-*/launchers/*.starts")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            first, _, _ = path.read_text(encoding="utf-8").partition("\n")
            record = json.loads(first)
            if (where.proc / str(record["pid"])).exists():
                yield str(record["cgroup"])


def _writable(proc: Path) -> Path | None:
    """The cgroup in which this process may make others as a launcher needs them."""
    try:
        parent = cgroup.current(proc / "self" / "cgroup", proc / "self" / "mountinfo")
        if parent is None:
            return None
        probe = parent / "kronforce-doctor"
        probe.mkdir()
    except OSError:
        return None
    try:
        return parent if (probe / "cgroup.kill").exists() else None
    finally:
        probe.rmdir()
