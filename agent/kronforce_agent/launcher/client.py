"""The agent's side of the launcher's socket: start or attach, send commands, receive events.

Everything runs on the agent's event loop. Events arrive in batches, one plain function call per
batch, in the order in which the launcher sent them; commands of one turn of the loop leave in one
write. The client keeps no state about attempts: what the launcher holds, its Inventory says.
Closing the client leaves the launcher and its tasks running.
"""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from kronforce_agent import failpoints
from kronforce_agent.launcher import paths as files
from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.cleanup import kill_leftovers
from kronforce_agent.launcher.paths import LauncherPaths

START_TIMEOUT_SECS = 15.0
"""From starting the process to its socket: imports take 0.2 s, a loaded machine ten times that."""
CONNECT_TIMEOUT_SECS = 10.0
"""From connect to Welcome: a launcher that answers no longer than this hangs."""
ATTACH_TRIES = 5
"""A launcher may be ending (idle, shut down) while we attach; the next try starts another."""
ATTACH_RETRY_SECS = 0.2
READY_LINE_LIMIT = 4096
LOG_TAIL_CHARS = 2000
"""What of the log goes into an error: a traceback's end."""

_FOR_TESTS = (failpoints.FLAG, failpoints.LOG)
"""What the launcher inherits of our own environment, so that tests can kill it where they want."""

EventSink = Callable[[Sequence[protocol.Event]], None]
ClosedSink = Callable[[Exception | None], None]


class LauncherError(Exception):
    """The launcher could not be started or reached; the message says why and what to do."""


class LauncherGoneError(LauncherError):
    """The launcher ended just when we came; try again."""


class LauncherVersionError(LauncherError):
    """A launcher of another protocol version holds the tasks; let it drain or end it."""


@dataclass(frozen=True, kw_only=True)
class LauncherOptions:
    """What a newly started launcher is told; an attached one keeps what it was started with."""

    spool_max_bytes: int = 1024**3
    log_file: Path | None = None
    """Where its log and any traceback go; None: <data_dir>/launcher.log."""


class LauncherClient:
    """One connection to one launcher. Use start_or_attach or connect, then the command methods."""

    def __init__(self, channel: _Channel, welcome: protocol.Welcome) -> None:
        self._channel = channel
        self.boot_id = welcome.boot_id
        self.pid = welcome.pid
        self.spool_full_at_start = welcome.spool_full

    @classmethod
    async def start_or_attach(
        cls,
        data_dir: Path,
        on_events: EventSink,
        *,
        on_closed: ClosedSink | None = None,
        options: LauncherOptions | None = None,
    ) -> LauncherClient:
        """Attach to the living launcher of this data folder, or start one.

        What dead launchers left behind is killed first (see cleanup.kill_leftovers), in a thread.
        The first event is the Inventory; it may come before this returns. Raises LauncherError.
        """
        for _ in range(ATTACH_TRIES - 1):
            try:
                return await cls._start_or_attach(data_dir, on_events, on_closed, options)
            except LauncherGoneError:
                await asyncio.sleep(ATTACH_RETRY_SECS)
        return await cls._start_or_attach(data_dir, on_events, on_closed, options)

    @classmethod
    async def _start_or_attach(
        cls,
        data_dir: Path,
        on_events: EventSink,
        on_closed: ClosedSink | None,
        options: LauncherOptions | None,
    ) -> LauncherClient:
        await asyncio.to_thread(kill_leftovers, data_dir)
        known = files.known_launchers(data_dir)
        if alive := [paths for paths in known if files.is_alive(paths)]:
            return await cls.connect(alive[0], on_events, on_closed=on_closed)
        if known:
            raise LauncherGoneError("a launcher died just now: its tasks are to be killed first")
        boot_id = await asyncio.to_thread(start_launcher, data_dir, options or LauncherOptions())
        paths = LauncherPaths(data_dir=data_dir, boot_id=boot_id)
        return await cls.connect(paths, on_events, on_closed=on_closed)

    @classmethod
    async def connect(
        cls, paths: LauncherPaths, on_events: EventSink, *, on_closed: ClosedSink | None = None
    ) -> LauncherClient:
        """Attach to this launcher; an agent that was connected before is cut off."""
        try:
            sock = files.connect_socket(paths)
        except OSError as error:
            raise LauncherGoneError(f"no launcher answers on {paths.socket}: {error}") from error
        loop = asyncio.get_running_loop()
        channel = _Channel(loop, on_events, on_closed)
        await loop.create_unix_connection(lambda: channel, sock=sock)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECS):
                welcome = await channel.welcome
        except TimeoutError as error:
            channel.close()
            raise LauncherError(f"the launcher behind {paths.socket} does not answer") from error
        if welcome.version != protocol.VERSION:
            channel.close()
            raise LauncherVersionError(
                f"launcher {welcome.pid} speaks version {welcome.version}, this agent "
                f"{protocol.VERSION}: let its tasks finish, or end it with kill {welcome.pid}"
            )
        return cls(channel, welcome)

    @property
    def connected(self) -> bool:
        return self._channel.connected

    def send(self, command: protocol.Command) -> None:
        """Queue any command; nothing is sent (and nothing raised) once the connection is gone."""
        self._channel.send(command)

    def spawn(self, spawn: protocol.Spawn) -> None:
        """Start an attempt; answered by Started or SpawnFailed, later by Output and Exited."""
        self.send(spawn)

    def cancel(self, execution_id: str, fence: int, *, grace_secs: float | None = None) -> None:
        """TERM, grace, KILL; an attempt that is unknown or already over is left as it is."""
        self.send(protocol.Cancel(execution_id=execution_id, fence=fence, grace_secs=grace_secs))

    def credit(self, execution_id: str, fence: int, amount: int) -> None:
        """Allow `amount` more bytes of this attempt's output."""
        self.send(protocol.Credit(execution_id=execution_id, fence=fence, amount=amount))

    def ack_output(self, execution_id: str, fence: int, seq: int) -> None:
        """All chunks up to `seq` are stored: the launcher may forget them."""
        self.send(protocol.AckOutput(execution_id=execution_id, fence=fence, seq=seq))

    def ack_exit(self, execution_id: str, fence: int) -> None:
        """The exit is journalled: the launcher may forget it."""
        self.send(protocol.AckExit(execution_id=execution_id, fence=fence))

    def set_masks(self, mask_set: str, secrets: Sequence[bytes]) -> None:
        """Give a set of secrets its name; send it before the first Spawn that uses it."""
        self.send(protocol.SetMasks(mask_set=mask_set, secrets=tuple(secrets)))

    def offline(self, on: bool) -> None:
        """Without a controller (True) output is spooled at once, credit or not."""
        self.send(protocol.Offline(on=on))

    def request_inventory(self) -> None:
        self.send(protocol.InventoryRequest())

    def shutdown(self, *, grace_secs: float | None = None) -> None:
        """End all tasks, then the launcher (agent --stop-tasks, kronforce up on Ctrl-C)."""
        self.send(protocol.Shutdown(grace_secs=grace_secs))

    def close(self) -> None:
        """Leave; the launcher and its tasks go on. on_closed is called with None."""
        self._channel.close()

    async def wait_closed(self) -> None:
        """Until the connection is gone, whoever ended it."""
        await self._channel.gone.wait()


class _Channel(asyncio.Protocol):
    """Frames in, frames out, batched by turn of the event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_events: EventSink, on_closed: ClosedSink | None
    ) -> None:
        self.welcome: asyncio.Future[protocol.Welcome] = loop.create_future()
        self.gone = asyncio.Event()
        self._loop = loop
        self._on_events = on_events
        self._on_closed = on_closed
        self._reader = protocol.FrameReader()
        self._transport: asyncio.Transport | None = None
        self._pending: list[bytes] = []

    @property
    def connected(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, command: protocol.Command) -> None:
        if not self.connected:
            return
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(protocol.encode(command))

    def close(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A socket's is one, but uvloop's class does not inherit from it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            events = self._reader.feed(data)
        except protocol.ProtocolError:
            assert self._transport is not None
            self._transport.abort()
            raise
        if events and not self.welcome.done():
            first = events.pop(0)
            assert isinstance(first, protocol.Welcome), "a launcher begins with Welcome"
            self.welcome.set_result(first)
        if events:
            self._on_events(events)  # type: ignore[arg-type]  # a launcher sends only events

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        if not self.welcome.done():
            self.welcome.set_exception(LauncherGoneError("the launcher closed the connection"))
        elif self._on_closed is not None:
            self._on_closed(exc)

    def _flush(self) -> None:
        if self._pending and self.connected:
            assert self._transport is not None
            self._transport.write(b"".join(self._pending))
        self._pending.clear()


def start_launcher(data_dir: Path, options: LauncherOptions) -> str:
    """Start a launcher as a session of its own and wait for its socket. Returns its boot_id.

    Blocking. The launcher prints its boot_id on a pipe once it listens; its stderr goes to the log
    file. Raises LauncherError with the end of that log if it dies instead.
    """
    files.make_folder(data_dir)
    log = options.log_file or data_dir / "launcher.log"
    with log.open("ab") as errors:
        log.chmod(0o600)
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                # Commands and values reach a process as they are, whatever the locale.
                "-X",
                "utf8",
                "-m",
                "kronforce_agent.launcher",
                *_arguments(data_dir, options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(),
            start_new_session=True,
            close_fds=True,
        )
    return _read_boot_id(process, log)


def _arguments(data_dir: Path, options: LauncherOptions) -> list[str]:
    return ["--data-dir", str(data_dir.absolute()), "--spool-max", str(options.spool_max_bytes)]


def _environment() -> dict[str, str]:
    """The launcher finds our package wherever this process found it; it needs nothing else."""
    roots = [path for path in sys.path if path]
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("KRONFORCE_") or name in _FOR_TESTS
    }
    return {**kept, "PYTHONPATH": os.pathsep.join(roots)}


def _read_boot_id(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    with process.stdout as pipe:
        ready, _, _ = select.select([pipe], [], [], START_TIMEOUT_SECS)
        line = os.read(pipe.fileno(), READY_LINE_LIMIT).decode().strip() if ready else ""
    if not line:
        process.kill()
    process.wait()  # the process that was started only forks the launcher and ends
    if not line:
        raise LauncherError(f"the launcher did not start; the end of {log}:\n{_tail(log)}")
    return line


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_TAIL_CHARS:].strip() or "(empty)"
