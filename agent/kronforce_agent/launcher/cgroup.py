"""A cgroup v2 of the launcher's own, where the host lets us make one.

Tasks inherit it: writing `cgroup.kill` after the launcher's death ends them all at once, whatever
they did to their sessions and environments. Probed, never required: None means do without.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

NAME = "kronforce-launcher-"
KILL_WAIT_SECS = 5.0
POLL_SECS = 0.005
MOUNT_INFO = Path("/proc/self/mountinfo")
OWN_CGROUP = Path("/proc/self/cgroup")


def enter_own(boot_id: str) -> Path | None:
    """Make a cgroup below the current one and move this process into it."""
    parent = current()
    if parent is None:
        return None
    folder = parent / f"{NAME}{boot_id}"
    try:
        folder.mkdir()
    except OSError:
        return None
    try:
        if (folder / "cgroup.kill").exists():
            _move(folder)
            return folder
    except OSError:
        pass
    folder.rmdir()
    return None


def leave(folder: Path) -> None:
    """Back to the parent, and remove the folder unless a task left something in it."""
    with contextlib.suppress(OSError):
        _move(folder.parent)
        folder.rmdir()


def kill(folder: Path) -> int | None:
    """Kill everything in a dead launcher's cgroup. Returns how many, None if that did not work."""
    if not folder.name.startswith(NAME) or not folder.is_dir():
        return None
    try:
        count = len((folder / "cgroup.procs").read_text().split())
        (folder / "cgroup.kill").write_text("1")
        if not _wait_empty(folder):
            return None
        folder.rmdir()
    except OSError:
        return None
    return count


def current(own: Path = OWN_CGROUP, mount_info: Path = MOUNT_INFO) -> Path | None:
    """The folder of this process's v2 cgroup."""
    root = mount_point(mount_info)
    if root is None:
        return None
    for line in own.read_text().splitlines():
        if line.startswith("0::"):
            folder = root / line[3:].lstrip("/")
            return folder if folder.is_dir() else None
    return None


def mount_point(mount_info: Path = MOUNT_INFO) -> Path | None:
    """Where cgroup2 is mounted from its root, if it is."""
    try:
        lines = mount_info.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        before, _, after = line.partition(" - ")
        if after.split(" ")[0] == "cgroup2" and before.split(" ")[3] == "/":
            return Path(before.split(" ")[4])
    return None


def _move(folder: Path) -> None:
    (folder / "cgroup.procs").write_text(str(os.getpid()))


def _wait_empty(folder: Path) -> bool:
    deadline = time.monotonic() + KILL_WAIT_SECS
    while "populated 1" in (folder / "cgroup.events").read_text():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECS)
    return True
