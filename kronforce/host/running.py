"""Which controller runs on a data folder, without disturbing it.

Trying its lock would keep one that starts at that moment out, so the process
that the lock file names is looked at instead: it must hold that very file
open. What it says of itself is in `endpoint.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from kronforce import data_dir


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A living controller; `address` is empty until it listens, `metrics` if it serves none."""

    pid: int
    address: str = ""
    metrics: str = ""


def running(folder: Path, proc: Path = Path("/proc")) -> Running | None:
    """The controller of this folder, if one lives. Raises PermissionError in another's folder."""
    lock = folder / data_dir.LOCK
    try:
        pid = int(lock.read_text(encoding="ascii").strip() or 0)
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None
    if not pid or not _holds(proc / str(pid) / "fd", lock):
        return None
    said = endpoint(folder)
    if said.get("pid") != pid:
        return Running(pid=pid)
    return Running(
        pid=pid, address=str(said.get("address", "")), metrics=str(said.get("metrics", ""))
    )


def endpoint(folder: Path) -> dict[str, object]:
    """What the last controller said of itself; empty if it has ended in order."""
    try:
        said = json.loads((folder / data_dir.ENDPOINT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _holds(descriptors: Path, lock: Path) -> bool:
    """Whether the process has the file open; another user's process cannot be looked into."""
    try:
        wanted = lock.stat()
        for each in descriptors.iterdir():
            try:
                found = each.stat()
            except OSError:
                continue
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    except PermissionError:
        return True
    except OSError:
        return False
    return False
