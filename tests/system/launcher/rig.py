"""A stand-in for the agent over the real socket, and a real launcher behind it."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.client import LauncherClient, LauncherOptions
from kronforce_agent.launcher.protocol import STDERR, STDOUT, Exited, Output

T = TypeVar("T")
WAIT_SECS = 20.0
POLL_SECS = 0.01
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Rig:
    """Spawns, collects, acknowledges. `credit` is granted with the spawn and renewed as it goes."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.events: list[protocol.Event] = []
        self.batches: list[list[protocol.Event]] = []
        self.closed = asyncio.Event()
        self.auto_credit = True
        self.auto_ack = True
        self._client: LauncherClient | None = None
        self._changed = asyncio.Event()
        self._fences = itertools.count(1)

    @property
    def client(self) -> LauncherClient:
        assert self._client is not None
        return self._client

    async def start(self, *, spool_max: int = 1 << 30) -> Rig:
        self._client = await LauncherClient.start_or_attach(
            self.data_dir,
            self._on_events,
            on_closed=lambda _: self.closed.set(),
            options=LauncherOptions(spool_max_bytes=spool_max),
        )
        return self

    def spawn(self, command: str = "", **fields: Any) -> str:
        execution_id = fields.pop("execution_id", None) or str(uuid.uuid4())
        fields = {"fence": next(self._fences), "env": ENV, "credit": 65536, **fields}
        self.client.spawn(protocol.Spawn(execution_id=execution_id, command=command, **fields))
        return execution_id

    async def run(self, command: str = "", **fields: Any) -> Exited:
        return await self.exited(self.spawn(command, **fields))

    async def exited(self, execution_id: str) -> Exited:
        return await self.wait(lambda: self._first(Exited, execution_id))

    async def started(self, execution_id: str) -> protocol.Started:
        return await self.wait(lambda: self._first(protocol.Started, execution_id))

    async def refused(self, execution_id: str) -> protocol.SpawnFailed:
        return await self.wait(lambda: self._first(protocol.SpawnFailed, execution_id))

    async def inventory(self) -> dict[str, protocol.TaskState]:
        found = await self.wait(lambda: self._last(protocol.Inventory))
        return {task.execution_id: task for task in found.tasks}

    async def fresh_inventory(self) -> dict[str, protocol.TaskState]:
        self.events = [e for e in self.events if not isinstance(e, protocol.Inventory)]
        self.client.request_inventory()
        return await self.inventory()

    def chunks(self, execution_id: str) -> list[Output]:
        outputs = (event for event in self.events if isinstance(event, Output))
        return [chunk for chunk in outputs if chunk.execution_id == execution_id]

    def output(self, execution_id: str, stream: int = STDOUT) -> bytes:
        """The stream put together by offset; fails on a hole. Gaps are shown as <n missing>."""
        result, at = b"", 0
        for chunk in self.chunks(execution_id):
            if chunk.stream != stream or chunk.offset + (chunk.gap or len(chunk.data)) <= at:
                continue
            assert chunk.offset == at, f"{at - chunk.offset} bytes off"
            result += b"<%d missing>" % chunk.gap if chunk.gap else chunk.data
            at += chunk.gap or len(chunk.data)
        return result

    async def complete(self, execution_id: str) -> Exited:
        """The exit, once both streams have arrived to their ends."""
        end = await self.exited(execution_id)
        return await self.wait(lambda: end if self._has_all(end) else None)

    async def wait(self, look: Callable[[], T | None], secs: float = WAIT_SECS) -> T:
        """What `look` finds, looking again after every batch of events."""
        async with asyncio.timeout(secs):
            while (found := look()) is None:
                self._changed.clear()
                await self._changed.wait()
        return found

    async def shut_down(self) -> None:
        if self._client is None:
            return
        if not self.client.connected:
            if not launcher_pids(self.data_dir):
                return
            await self.start()
        self.client.shutdown(grace_secs=0)
        for task in (await self.fresh_inventory()).values():
            self.client.ack_output(task.execution_id, task.fence, task.last_seq)
            self.client.ack_exit(task.execution_id, task.fence)
        self.auto_ack = True
        async with asyncio.timeout(WAIT_SECS):
            await self.client.wait_closed()

    def _has_all(self, end: Exited) -> bool:
        ends = {STDOUT: 0, STDERR: 0}
        for chunk in self.chunks(end.execution_id):
            last = chunk.offset + (chunk.gap or len(chunk.data))
            ends[chunk.stream] = max(ends[chunk.stream], last)
        return (ends[STDOUT], ends[STDERR]) == (end.stdout_end, end.stderr_end)

    def _first(self, kind: type[T], execution_id: str) -> T | None:
        for event in self.events:
            if isinstance(event, kind) and event.execution_id == execution_id:  # type: ignore[attr-defined]
                return event
        return None

    def _last(self, kind: type[T]) -> T | None:
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)

    def _on_events(self, events: Sequence[protocol.Event]) -> None:
        self.batches.append(list(events))
        self.events += events
        for event in events:
            if isinstance(event, Output):
                self._output(event)
            elif isinstance(event, Exited) and self.auto_ack and self._client:
                self.client.ack_exit(event.execution_id, event.fence)
                self.client.ack_output(event.execution_id, event.fence, 0)
        self._changed.set()

    def _output(self, chunk: Output) -> None:
        if self.auto_ack:
            self.client.ack_output(chunk.execution_id, chunk.fence, chunk.seq)
        if self.auto_credit:
            self.client.credit(chunk.execution_id, chunk.fence, len(chunk.data))


def launcher_pids(data_dir: Path) -> list[int]:
    """Launchers of this data folder, by their command line."""
    needle = b"--data-dir\0" + os.fsencode(data_dir) + b"\0"
    return [pid for pid, line in _command_lines() if needle in line]


def alive(token: str) -> list[int]:
    """Processes with this in their command line; zombies have none."""
    return [pid for pid, line in _command_lines() if token.encode() in line]


async def gone(token: str, secs: float = WAIT_SECS) -> None:
    """Until nobody with this token is left."""
    await until(lambda: not alive(token), secs)


async def ended(pid: int) -> None:
    """Until this process is dead and reaped."""
    await until(lambda: not Path(f"/proc/{pid}").exists())


async def until(look: Callable[[], Any], secs: float = WAIT_SECS) -> Any:
    """Until something outside the event loop has become true; what it is then."""
    async with asyncio.timeout(secs):
        while not (found := look()):  # noqa: ASYNC110  it happens in other processes
            await asyncio.sleep(POLL_SECS)
    return found


def zombies_of(pid: int) -> list[int]:
    """Dead children that their parent has not reaped."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if fields[0] == "Z" and int(fields[1]) == pid:
            found.append(int(name))
    return found


def memory_of(pid: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _command_lines() -> list[tuple[int, bytes]]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit() and int(name) != os.getpid():
            try:
                found.append((int(name), Path(f"/proc/{name}/cmdline").read_bytes()))
            except OSError:
                continue
    return found
