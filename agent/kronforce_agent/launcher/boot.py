"""From a fresh process to a running loop: detach, lock, bind, become subreaper, enter a cgroup.

The process that the agent starts forks once and ends: the launcher is nobody's child to wait for.
 The lock is taken before the socket is bound and held until the end; the boot_id is printed on
stdout once an agent can connect.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kronforce_agent.launcher import cgroup
from kronforce_agent.launcher import paths as files
from kronforce_agent.launcher.clock import SystemClock
from kronforce_agent.launcher.loop import Launcher
from kronforce_agent.launcher.paths import LauncherPaths
from kronforce_agent.launcher.spool import Spool
from kronforce_agent.launcher.starts import LauncherRecord, StartsFile, kernel_boot_id

log = logging.getLogger(__name__)

PR_SET_CHILD_SUBREAPER = 36
UMASK = 0o077
BACKLOG = 8
"""Connections that may wait: there is one agent, and its successor."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The command line."""

    data_dir: Path
    spool_max_bytes: int


def detach() -> None:
    """Leave the starting process behind; the session it made stays ours."""
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    os.umask(UMASK)


def serve(settings: Settings) -> None:
    """Run a launcher to its end. Raises OSError if it cannot start."""
    become_subreaper()
    boot_id = str(uuid.uuid4())
    where = LauncherPaths(data_dir=settings.data_dir, boot_id=boot_id)
    with _locked(where), _listening(where) as listener, _own_cgroup(boot_id) as folder:
        wakeup = _catch_signals()
        clock = SystemClock()
        record = LauncherRecord(
            pid=os.getpid(),
            start_ticks=clock.boot_ticks(),
            kernel_boot=kernel_boot_id(),
            cgroup=str(folder or ""),
        )
        spool = Spool(where.spool, settings.spool_max_bytes)
        starts = StartsFile(where.starts, record)
        launcher = Launcher(
            boot_id=boot_id,
            listener=listener,
            wakeup=wakeup,
            spool=spool,
            starts=starts,
            clock=clock,
        )
        _announce(boot_id)
        launcher.run()
        spool.remove()
        starts.remove()


def become_subreaper() -> None:
    """Orphans of our tasks become our children, not init's. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


@contextmanager
def _locked(where: LauncherPaths) -> Iterator[None]:
    files.make_folder(files.launchers_dir(where.data_dir))
    fd = files.try_lock(where.lock)
    if fd is None:
        raise OSError(f"{where.lock} is held by another process")
    try:
        yield
    finally:
        where.lock.unlink(missing_ok=True)
        os.close(fd)


@contextmanager
def _listening(where: LauncherPaths) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with files.socket_address(where.socket) as address:
            listener.bind(address)
        where.socket.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        try:
            yield listener
        finally:
            where.socket.unlink(missing_ok=True)


@contextmanager
def _own_cgroup(boot_id: str) -> Iterator[Path | None]:
    folder = cgroup.enter_own(boot_id)
    try:
        yield folder
    finally:
        if folder is not None:
            cgroup.leave(folder)


def _catch_signals() -> socket.socket:
    """Every signal that matters becomes a byte; what was ignored is default again in tasks.

    SIG_IGN would be inherited by every task, a handler is not: so nothing is ignored here.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    ignored = {n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN}
    for number in ignored | {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
        signal.signal(number, lambda *_: None)
    return reader


def _announce(boot_id: str) -> None:
    """Tell the starter, then let go of its pipe."""
    sys.stdout.write(boot_id + "\n")
    sys.stdout.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
