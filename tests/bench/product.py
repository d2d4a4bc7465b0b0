"""The real thing, started for one measurement: a controller process and an agent process.

Both run as a user would start them, on a fresh data folder, and are gone with everything that
they wrote when the context ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc

from kronforce.v1 import agent_pb2, agent_service_pb2, agent_service_pb2_grpc
from tests.bench import many_jobs, retention_fill, usage

CHECKOUT = Path(__file__).resolve().parents[2]
START_LIMIT_SECS = 60.0
STOP_LIMIT_SECS = 20.0
POLL_SECS = 0.05
AGENT = "bench"

T = TypeVar("T")


class DidNotStart(Exception):
    """A process of the product ended or stayed silent; the message has the end of its log."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """A running product, and who is who."""

    folder: Path
    address: str
    http: str
    key: str
    controller: int
    agent: int
    database: tuple[int, ...] = ()

    @property
    def launcher(self) -> int | None:
        """Started by the agent when it starts or needs it, and in a session of its own."""
        found = usage.find("kronforce_agent.launcher", str(self.folder))
        return found[0] if found else None

    def pids(self) -> dict[str, list[int]]:
        named = {"controller": [self.controller], "agent": [self.agent]}
        if self.launcher is not None:
            named["launcher"] = [self.launcher]
        if self.database:
            named["database"] = [*self.database, *usage.children(self.database[0])]
        return named


@contextmanager
def running(
    parent: Path,
    *,
    slots: int,
    db: str = "",
    postmaster: int = 0,
    history: int = 0,
    stored_jobs: int = 0,
) -> Iterator[Product]:
    """Start both and wait until the agent is online.

    First put in a history, or so many jobs (SQLite), if they are wanted.
    """
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    if history:
        retention_fill.fill(db or str(folder / "kronforce.db"), history)
    started: list[subprocess.Popen[bytes]] = []
    try:
        if stored_jobs:
            many_jobs.fill(folder, stored_jobs)
        yield _start(folder, slots, db, postmaster, started)
    finally:
        for process in reversed(started):
            stop(process)
        for pid in usage.find("kronforce_agent.launcher", str(folder)):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    folder: Path, slots: int, db: str, postmaster: int, started: list[subprocess.Popen[bytes]]
) -> Product:
    data = ("--data-dir", str(folder), "--log-level", "warning")
    flags = [
        "--grpc-bind",
        "127.0.0.1:0",
        "--bind",
        "127.0.0.1:0",
        # Counted as everywhere, and never reached.
        *("--rate-limit-authenticated", "1000000000"),
        *data,
        *(["--db", db] if db else []),
    ]
    controller = spawn(folder, "controller", ["kronforce", "controller", *flags], started)
    told = until(lambda: read_endpoint(folder), controller, folder / "controller.log")
    endpoint = str(told["address"])
    key = (folder / "admin.key").read_text().strip()
    with grpc.insecure_channel(endpoint) as channel:
        agents = agent_service_pb2_grpc.AgentServiceStub(channel)
        metadata = (("authorization", f"Bearer {key}"),)
        request = agent_service_pb2.CreateJoinTokenRequest()
        token = folder / "join.token"
        token.write_text(agents.CreateJoinToken(request, metadata=metadata).token)
        token.chmod(0o600)
        flags = ["--address", endpoint, "--name", AGENT, "--slots", str(slots), *data]
        words = ["kronforce_agent", *flags, "--token-file", str(token)]
        agent = spawn(folder, "agent", words, started)

        until(lambda: is_online(agents, metadata, AGENT), agent, folder / "agent.log")
    return Product(
        folder=folder,
        address=endpoint,
        http=told["http"],
        key=key,
        controller=controller.pid,
        agent=agent.pid,
        database=(postmaster,) if postmaster else (),
    )


def is_online(agents: Any, metadata: Any, name: str) -> bool:
    """Whether the agent of this name is known and connected; `agents` is a stub."""
    request = agent_service_pb2.GetAgentRequest(agent_id=name)
    try:
        found = agents.GetAgent(request, metadata=metadata)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.NOT_FOUND:
            return False
        raise
    return bool(found.state == agent_pb2.AGENT_STATE_ONLINE)


def spawn(
    folder: Path, name: str, words: list[str], started: list[subprocess.Popen[bytes]]
) -> subprocess.Popen[bytes]:
    """Start a program of ours in a folder that takes its log."""
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=CHECKOUT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    started.append(process)
    return process


def environment() -> dict[str, str]:
    """Ours without settings of Kronforce, which would reach the processes behind our back."""
    return {k: v for k, v in os.environ.items() if not k.startswith("KRONFORCE_")}


def read_endpoint(folder: Path) -> dict[str, str]:
    """What a controller that serves tells its host; empty before."""
    try:
        found: dict[str, str] = json.loads((folder / "endpoint.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def until(
    ready: Callable[[], T],
    process: subprocess.Popen[bytes],
    log: Path,
    limit: float = START_LIMIT_SECS,
    every: float = POLL_SECS,
) -> T:
    """What it gives as soon as it gives something. Raises DidNotStart."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        found = ready()
        if found:
            return found
        time.sleep(every)
    raise DidNotStart(f"{log.stem} (exit {process.poll()}):\n{log.read_text()[-3000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and see to it."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_SECS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
