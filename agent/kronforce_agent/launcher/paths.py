"""Where a launcher keeps its files below the agent's data folder, and who holds them.

    <data>/launchers/<boot_id>.sock     the socket (0600 in a 0700 folder)
    <data>/launchers/<boot_id>.lock     flocked for as long as that launcher lives
    <data>/launchers/<boot_id>.starts   who was started, for cleaning up after its death
    <data>/spool/<boot_id>/             output that did not fit in memory (0600)

A launcher is alive exactly while its lock is held: nothing here looks at pids. Linux only (flock).
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

FOLDER_MODE = 0o700
SOCKET_PATH_LIMIT = 107
"""sockaddr_un holds 108 bytes with the closing zero; longer paths go through /proc/self/fd."""


@dataclass(frozen=True, kw_only=True)
class LauncherPaths:
    """The files of one launcher."""

    data_dir: Path
    boot_id: str

    @property
    def socket(self) -> Path:
        return launchers_dir(self.data_dir) / f"{self.boot_id}.sock"

    @property
    def lock(self) -> Path:
        return launchers_dir(self.data_dir) / f"{self.boot_id}.lock"

    @property
    def starts(self) -> Path:
        return launchers_dir(self.data_dir) / f"{self.boot_id}.starts"

    @property
    def spool(self) -> Path:
        return self.data_dir / "spool" / self.boot_id


def launchers_dir(data_dir: Path) -> Path:
    return data_dir / "launchers"


def make_folder(path: Path) -> None:
    """The folder with mode 0700, whatever the umask or an earlier version made of it."""
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    path.chmod(FOLDER_MODE)


def known_launchers(data_dir: Path) -> list[LauncherPaths]:
    """Every launcher that left a lock file, newest first, living or not."""
    folder = launchers_dir(data_dir)
    found: list[tuple[int, str]] = []
    for path in folder.glob("*.lock"):
        with suppress(FileNotFoundError):  # it ended and cleaned up this very moment
            found.append((path.stat().st_mtime_ns, path.stem))
    return [LauncherPaths(data_dir=data_dir, boot_id=name) for _, name in sorted(found)[::-1]]


def try_lock(path: Path) -> int | None:
    """An open descriptor that holds the lock, or None if someone else does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def is_alive(paths: LauncherPaths) -> bool:
    """Whether the launcher still holds its lock. Takes and drops the lock for a moment."""
    if not paths.lock.exists():
        return False
    fd = try_lock(paths.lock)
    if fd is None:
        return True
    os.close(fd)
    return False


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """An address for bind or connect that fits AF_UNIX, however long the path is."""
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connect_socket(paths: LauncherPaths) -> socket.socket:
    """A connected, non-blocking socket. Raises OSError if nobody listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_address(paths.socket) as address:
            sock.connect(address)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
