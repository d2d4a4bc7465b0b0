"""Where the data lies: the folder and who may read it, its file system, its disk."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kronforce import audit_key, data_dir, first_start, master_key
from kronforce.host.findings import Finding, Surroundings, fine, size, warning, wrong

# Gone with a reboot, or with the container.
_FLEETING = {
    "tmpfs": "is in memory and gone with a reboot",
    "ramfs": "is in memory and gone with a reboot",
    "overlay": "is a container's own layer and gone with the container",
}
# Enough for a median, few enough for a slow disk; and no more than this long in all.
SYNCS = 16
SYNC_BYTES = 4_096
SYNC_LIMIT_SECS = 2.0
# A start and an end wait for a commit each: what a person notices, and what no service should have.
SYNC_SLOW_SECS = 0.020
SYNC_TOO_SLOW_SECS = 0.200


def data_folder(where: Surroundings) -> Iterator[Finding]:
    """It is there, and its owner's alone."""
    folder = where.config.data_dir
    try:
        found = folder.stat()
    except FileNotFoundError:
        yield _missing(folder)
        return
    mode, owner = found.st_mode & 0o777, found.st_uid
    if owner != os.geteuid() and os.geteuid() != 0:
        yield wrong(
            "data folder",
            f"{folder} belongs to user {owner}, and this is user {os.geteuid()}",
            f"sudo -u '#{owner}' kronforce doctor, or another folder with --data-dir",
        )
    elif (folder / data_dir.RESTORING).exists():
        yield wrong(
            "data folder",
            f"a restore into {folder} was not finished, and no controller starts on it",
            "kronforce restore FILE --force",
        )
    elif mode & 0o077:
        yield warning(
            "data folder",
            f"{folder} has mode {mode:04o}: others may look into it",
            f"chmod 700 {folder} (the next start does it)",
        )
    else:
        yield fine("data folder", f"{folder}, mode {mode:04o}")


def _missing(folder: Path) -> Finding:
    if os.access(_there(folder), os.W_OK | os.X_OK):
        way_out = "kronforce up makes it; another one is named with --data-dir"
        return warning("data folder", f"there is no {folder} yet", way_out)
    return wrong(
        "data folder",
        f"there is no {folder}, and user {os.geteuid()} may not make it",
        f"install -d -m 700 -o USER {folder} as root, or another folder with --data-dir",
    )


def _there(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _folders(where: Surroundings) -> list[Path]:
    return where.config.folders


def file_system(where: Surroundings) -> Iterator[Finding]:
    """Neither across a network nor fleeting."""
    for folder in _folders(where):
        kind = data_dir.file_system(_there(folder), where.proc / "self" / "mounts")
        if kind in data_dir.NETWORK:
            yield wrong(
                "file system",
                f"{folder} is on {kind}, across a network, where neither locks nor fsync can be"
                " trusted; no controller starts there",
                "a folder on a local disk with --data-dir, or PostgreSQL with --db",
            )
        elif kind in _FLEETING:
            yield warning(
                "file system",
                f"{folder} is on {kind}: it {_FLEETING[kind]}",
                "a folder on a disk, or a volume, with --data-dir",
            )
        else:
            yield fine("file system", f"{folder} is on {kind or 'a local disk'}")


def disk(where: Surroundings) -> Iterator[Finding]:
    """Free room against `disk_reserve`, below which triggers are refused."""
    reserve = where.config.disk_reserve
    for folder in _folders(where):
        found = where.statvfs(_there(folder))
        free = found.f_bavail * found.f_frsize
        text = f"{size(free)} free in {folder}; the reserve is {size(reserve)}"
        way_out = "make room; or fewer days with --retention-days, less with --disk-reserve"
        if free < reserve:
            yield wrong("disk", f"{text}: triggers and output are refused", way_out)
        elif free < 2 * reserve:
            yield warning("disk", f"{text}, below which triggers are refused", way_out)
        elif found.f_files and found.f_favail < found.f_files // 100:
            yield warning(
                "disk",
                f"{text}, but only {found.f_favail:,} of {found.f_files:,} inodes are free",
                "remove what has many small files there",
            )
        else:
            yield fine("disk", text)


def fsync_time(where: Surroundings) -> Iterator[Finding]:
    """How long the disk takes to keep something for good."""
    folder = _folders(where)[-1]
    if not folder.is_dir():
        return
    try:
        times = _time_syncs(folder, where)
    except PermissionError:
        raise
    except OSError as error:
        # A file system that is mounted read-only, or full to the last block.
        way_out = "its file system: mount | grep ' on '; df -h; dmesg"
        yield wrong("fsync", f"cannot write to {folder}: {error.strerror}", way_out)
        return
    median, worst = statistics.median(times), max(times)
    text = f"{median * 1000:.1f} ms, {worst * 1000:.1f} ms at worst of {len(times)}"
    way_out = "a faster or less busy disk (an SSD with a cache that survives power loss)"
    if median > SYNC_TOO_SLOW_SECS:
        yield wrong("fsync", f"{text}: every run waits for several of these", way_out)
    elif median > SYNC_SLOW_SECS:
        yield warning("fsync", f"{text}: every run waits for several of these", way_out)
    else:
        yield fine("fsync", text)


def _time_syncs(folder: Path, where: Surroundings) -> list[float]:
    times: list[float] = []
    with tempfile.TemporaryFile(prefix=".doctor-", dir=folder) as file:
        while len(times) < SYNCS and sum(times) < SYNC_LIMIT_SECS:
            os.pwrite(file.fileno(), bytes(SYNC_BYTES), len(times) * SYNC_BYTES)
            before = where.clock.monotonic()
            where.fsync(file.fileno())
            times.append(where.clock.monotonic() - before)
    return times


def key_files(where: Surroundings) -> Iterator[Finding]:
    """Whatever opens something is its owner's alone."""
    folder = where.config.data_dir
    if not folder.is_dir():
        return
    found = [path for path in (*_own_keys(folder), *_given_keys(where)) if path.exists()]
    troubles = [trouble for path in found if (trouble := _key_trouble(path, folder))]
    yield from troubles
    if not troubles:
        names = ", ".join(path.name for path in found)
        yield fine("key files", f"{names}: for their owner alone" if names else "none yet")


def _own_keys(folder: Path) -> Iterator[Path]:
    for name in (first_start.ADMIN_KEY, master_key.FILE, audit_key.FILE):
        yield folder / name
    yield from sorted(folder.glob(f"agent-*/{first_start.CREDENTIAL}"))


def _given_keys(where: Surroundings) -> Iterator[Path]:
    for path in (where.config.secrets_key_file, where.config.tls_key):
        if path is not None:
            yield path


def _key_trouble(path: Path, folder: Path) -> Finding | None:
    found, owner = path.stat(), folder.stat().st_uid
    mode = found.st_mode & 0o777
    ours = path.is_relative_to(folder)
    # What somebody else put there may be for a group, as Debian's ssl-cert.
    if mode & (0o077 if ours else 0o007):
        return wrong(
            "key files",
            f"{path} has mode {mode:04o}: others may read it",
            f"chmod {'600' if ours else 'o-rwx'} {path}, and a new key if somebody may have",
        )
    if ours and found.st_uid != owner:
        return wrong(
            "key files",
            f"{path} belongs to user {found.st_uid}, the data folder to user {owner}",
            f"chown {owner} {path}",
        )
    return None
