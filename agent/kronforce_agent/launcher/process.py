"""Starts one task process: a session of its own, stdin /dev/null, two pipes, nothing inherited.

The usual way is posix_spawn (a vfork inside, no Python in the child) with the launcher's own folder
and umask set around it, which is safe because the launcher has one thread. Where the C library
lacks POSIX_SPAWN_SETSID, and for run_as, it is subprocess.Popen. Only a process that never imports
grpc may call this: `user=` forks.
"""

from __future__ import annotations

import errno
import functools
import os
import pwd
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.protocol import Spawn
from kronforce_agent.launcher.tree import MARK

SHELL = "/bin/sh"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NO_ROOM_ERRORS = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)

Limited = Callable[[], AbstractContextManager[None]]


class SpawnError(Exception):
    """Nothing was started. `reason` is one of protocol's, `message` what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class StartedProcess:
    """A running task: its pid leads session and group; both descriptors are non-blocking."""

    pid: int
    stdout: int
    stderr: int


class Starter:
    """Starts processes with what they inherit: /dev/null, and the usual limit of open files.

    The launcher itself needs two descriptors per attempt, so it raises its soft limit to the hard
    one, and puts the old one back for the moment of each start.
    """

    def __init__(self) -> None:
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._usual = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._raised = (self._usual[1], self._usual[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, self._raised)

    def start(self, spawn: Spawn) -> StartedProcess:
        """Start it. Raises SpawnError, and then nothing of it is left."""
        return _start_process(spawn, self._null, self._with_usual_limit)

    @contextmanager
    def _with_usual_limit(self) -> Iterator[None]:
        resource.setrlimit(resource.RLIMIT_NOFILE, self._usual)
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._raised)


def _start_process(spawn: Spawn, null: int, limited: Limited) -> StartedProcess:
    env = {**(spawn.env or {}), MARK: spawn.execution_id}
    pipes: list[int] = []
    try:
        argv = _resolve(spawn, env)
        pipes += os.pipe()
        pipes += os.pipe()
        out, out_end, err, err_end = pipes
        with limited():
            pid = _start(spawn, argv, env, (null, out_end, err_end))
    except (OSError, ValueError) as error:
        _close(pipes)
        raise _explain(spawn, error) from error
    except SpawnError:
        _close(pipes)
        raise
    finally:
        if spawn.cwd:
            os.chdir("/")  # a launcher that stays in a task's folder would keep its disk busy
    _close((out_end, err_end))
    os.set_blocking(out, False)
    os.set_blocking(err, False)
    return StartedProcess(pid, out, err)


def _resolve(spawn: Spawn, env: dict[str, str]) -> list[str]:
    """The program by its full path, and its arguments. Moves to the task's folder."""
    try:
        if spawn.cwd:
            os.chdir(spawn.cwd)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SpawnError(
            protocol.MISSING_FOLDER, f"there is no folder {spawn.cwd!r} on this host"
        ) from error
    if not spawn.argv:
        return [SHELL, "-c", spawn.command]
    program = shutil.which(spawn.argv[0], path=env.get("PATH", DEFAULT_PATH))
    if program is None:
        raise _unusable(spawn.argv[0])
    return [program, *spawn.argv[1:]]


def _unusable(program: str) -> SpawnError:
    if os.path.exists(program):  # noqa: PTH110
        return SpawnError(protocol.NOT_PERMITTED, f"{program!r} is not an executable file")
    return SpawnError(
        protocol.MISSING_PROGRAM, f"there is no program {program!r} in the task's PATH on this host"
    )


def _start(spawn: Spawn, argv: list[str], env: dict[str, str], ends: tuple[int, int, int]) -> int:
    if spawn.run_as or not _can_spawn_sessions():
        return _start_with_popen(spawn, argv, env, ends)
    actions = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(ends)]
    own = os.umask(spawn.umask)
    try:
        return os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True)
    finally:
        os.umask(own)


def _start_with_popen(
    spawn: Spawn, argv: list[str], env: dict[str, str], ends: tuple[int, int, int]
) -> int:
    identity = _identity(spawn.run_as)
    process = subprocess.Popen(
        argv,
        env=env,
        stdin=ends[0],
        stdout=ends[1],
        stderr=ends[2],
        start_new_session=True,
        umask=spawn.umask,
        user=identity.uid if identity else None,
        group=identity.gid if identity else None,
        extra_groups=identity.groups if identity else None,
    )
    # The loop reaps with waitpid(-1); Popen must neither wait for this pid nor warn about it.
    process.returncode = 0
    return process.pid


@dataclass(frozen=True, slots=True)
class _Identity:
    uid: int
    gid: int
    groups: list[int]


def _identity(run_as: str) -> _Identity | None:
    if not run_as:
        return None
    if os.geteuid() != 0:
        raise SpawnError(
            protocol.RUN_AS_NEEDS_ROOT,
            f"run_as {run_as!r} needs an agent that runs as root; this one runs as uid "
            f"{os.geteuid()}: drop run_as, or target an agent that runs as root",
        )
    try:
        user = pwd.getpwnam(run_as)
    except KeyError as error:
        raise SpawnError(
            protocol.RUN_AS_UNKNOWN_USER, f"there is no user {run_as!r} on this host"
        ) from error
    return _Identity(user.pw_uid, user.pw_gid, os.getgrouplist(run_as, user.pw_gid))


@functools.cache
def _can_spawn_sessions() -> bool:
    """False for a CPython built against a C library older than 2.26, and for musl."""
    try:
        pid = os.posix_spawn(SHELL, [SHELL, "-c", ":"], {}, setsid=True)
    except NotImplementedError:
        return False
    os.waitpid(pid, 0)
    return True


def _explain(spawn: Spawn, error: OSError | ValueError) -> SpawnError:
    if isinstance(error, ValueError):  # NUL bytes
        return SpawnError(protocol.BAD_COMMAND, f"this cannot be passed to a process: {error}")
    number = error.errno
    program = spawn.argv[0] if spawn.argv else SHELL
    if number == errno.ENOENT:
        return SpawnError(
            protocol.MISSING_PROGRAM, f"{program!r}, or the interpreter it names, is not there"
        )
    if number in (errno.EACCES, errno.EPERM):
        where = f"folder {spawn.cwd!r} and program {program!r}"
        return SpawnError(protocol.NOT_PERMITTED, f"the agent may not use {where}: {error}")
    if number == errno.ENOEXEC:
        return SpawnError(
            protocol.BAD_COMMAND,
            f"{program!r} is no program for this host; a script needs a first line like #!/bin/sh",
        )
    if number == errno.E2BIG:
        return SpawnError(
            protocol.TOO_BIG,
            "command and environment are larger than a process can be given (128 KiB each, 2 MB "
            "together on most hosts): put them into a file",
        )
    if number in NO_ROOM_ERRORS:
        return SpawnError(protocol.NO_ROOM, f"this host has no room for another process: {error}")
    return SpawnError(protocol.SYSTEM_ERROR, f"{program!r} could not be started: {error}")


def _close(descriptors: list[int] | tuple[int, ...]) -> None:
    for fd in descriptors:
        os.close(fd)
