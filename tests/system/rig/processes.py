"""Processes of their own: started apart, killed at will, and swept away with all they left.

A process leads its own session and writes its log to a file. `sweep` ends whatever belongs to a
test's folder: agents, launchers, and tasks, also those that nobody is the parent of any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

# A start on a machine that is busy with other tests; alone it takes a second.
START_LIMIT_SECS = 30.0
STOP_LIMIT_SECS = 20.0
POLL_SECS = 0.02
SWEEPS = 200


class Process:
    """One `python -m kronforce …`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self.pid = process.pid
        self._process = process
        self.ended: asyncio.Task[int] = asyncio.ensure_future(process.wait())

    @property
    def running(self) -> bool:
        return not self.ended.done()

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.ended

    async def stop(self) -> int:
        """SIGTERM, and its exit code; SIGKILL where that does not help."""
        self.signal(signal.SIGTERM)
        done, _ = await asyncio.wait({self.ended}, timeout=STOP_LIMIT_SECS)
        if not done:
            await self.kill()
            raise AssertionError(f"{self.name} did not end on SIGTERM: {self.tail()}")
        return self.ended.result()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP for as long as the block takes."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def rss_bytes(self) -> int:
        return rss_bytes(self.pid)

    def tail(self, size: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-size:]


async def start(name: str, arguments: list[str], environ: Mapping[str, str], log: Path) -> Process:
    """`python -m kronforce ARGUMENTS` with this environment and nothing of ours."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "kronforce", *arguments),
            env=dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Process(name, process, log)


def clean_environment() -> dict[str, str]:
    """Our own environment without anything that a Kronforce process would read."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("KRONFORCE_") and name != "FAILPOINT"
    }


def rss_bytes(pid: int) -> int:
    """Resident memory; 0 when the process is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_rss_bytes(pid: int) -> int:
    """The most that it ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def living(folder: Path) -> list[int]:
    """Processes that belong to a folder: by their command line, working folder or environment."""
    mark = str(folder)
    return [int(entry.name) for entry in _processes() if _belongs(entry, mark)]


def launchers(folder: Path) -> list[int]:
    """Launchers that serve an agent below this folder."""
    return [pid for pid in living(folder) if "kronforce_agent.launcher" in _command_line(pid)]


async def sweep(folder: Path) -> None:
    """Kill what belongs to the folder until nothing does."""
    for _ in range(SWEEPS):
        found = living(folder)
        if not found:
            return
        for pid in found:
            end(pid)
        await asyncio.sleep(POLL_SECS)
    raise AssertionError(f"processes of {folder} cannot be killed: {living(folder)}")


def end(pid: int) -> None:
    """SIGKILL, where it is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _processes() -> list[Path]:
    own = str(os.getpid())
    return [
        entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and entry.name != own
    ]


def _belongs(entry: Path, mark: str) -> bool:
    try:
        if (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        texts = [(entry / name).read_bytes() for name in ("cmdline", "environ")]
        where = os.readlink(entry / "cwd")  # noqa: PTH115 - a deleted folder is no Path
    except OSError:
        return False
    return where.startswith(mark) or any(mark.encode() in text for text in texts)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
