"""A controller that can be restarted on its folder and its port, with as many agents as wanted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from kronforce.v1 import agent_service_pb2, agent_service_pb2_grpc
from tests.bench import product, usage

START_LIMIT_SECS = 600.0
"""Of a start that is measured: far beyond any floor, and an end to what hangs."""
LOOK_SECS = 0.005
"""How often it is looked whether it serves: the error of what is measured."""


@dataclass(kw_only=True)
class Controller:
    """One at a time, always on the same port."""

    folder: Path
    port: int
    database: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    key: str = ""
    http: str = ""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.processes[-1].pid

    def start(self) -> float:
        """Seconds until it served. Raises product.DidNotStart."""
        (self.folder / "endpoint.json").unlink(missing_ok=True)
        words = [
            "kronforce", "controller", "--grpc-bind", self.address, "--bind", "127.0.0.1:0",
            # Counted as everywhere, and never reached.
            "--rate-limit-authenticated", "1000000000",
            "--data-dir", str(self.folder), "--log-level", "warning",
            *(["--db", self.database] if self.database else []),
        ]  # fmt: skip
        began = time.monotonic()
        process = product.spawn(self.folder, "controller", words, self.processes)
        told = product.until(
            lambda: product.read_endpoint(self.folder), process,
            self.folder / "controller.log", START_LIMIT_SECS, LOOK_SECS,
        )  # fmt: skip
        took = time.monotonic() - began
        self.key = (self.folder / "admin.key").read_text().strip()
        self.http = told["http"]
        return took

    def kill(self) -> None:
        """As if its host had failed."""
        self.processes[-1].kill()
        self.processes[-1].wait()

    def stop(self) -> None:
        product.stop(self.processes[-1])

    def join_token(self, uses: int) -> str:
        """One that enrols so many agents."""
        request = agent_service_pb2.CreateJoinTokenRequest(uses=uses)
        with grpc.insecure_channel(self.address) as channel:
            stub = agent_service_pb2_grpc.AgentServiceStub(channel)
            metadata = (("authorization", f"Bearer {self.key}"),)
            return str(stub.CreateJoinToken(request, metadata=metadata).token)

    def cpu_secs(self) -> float:
        return usage.own_secs(self.pid)


@contextmanager
def controller(folder: Path, database: str = "") -> Iterator[Controller]:
    """Not started yet; what was started is gone in the end."""
    made = Controller(folder=folder, port=_free_port(), database=database)
    try:
        yield made
    finally:
        for process in reversed(made.processes):
            product.stop(process)


@contextmanager
def agents(of: Controller, count: int, slots: int) -> Iterator[list[int]]:
    """Real ones, started and enrolled with a token; their pids, when all are online."""
    started: list[subprocess.Popen[bytes]] = []
    folders = [of.folder / f"agent-{number}" for number in range(count)]
    metadata = (("authorization", f"Bearer {of.key}"),)
    try:
        secret = of.join_token(count)
        with grpc.insecure_channel(of.address) as channel:
            stub = agent_service_pb2_grpc.AgentServiceStub(channel)
            for folder in folders:
                _start_agent(of, folder, secret, slots, started)
            for folder, process in zip(folders, started, strict=True):
                product.until(
                    partial(product.is_online, stub, metadata, folder.name), process,
                    folder / "agent.log",
                )  # fmt: skip
        yield [process.pid for process in started]
    finally:
        for process in started:
            product.stop(process)
        for folder in folders:
            for pid in usage.find("kronforce_agent.launcher", str(folder)):
                os.kill(pid, signal.SIGKILL)


def _start_agent(
    of: Controller, folder: Path, secret: str, slots: int, started: list[subprocess.Popen[bytes]]
) -> None:
    folder.mkdir()
    token = folder / "join.token"
    token.touch(mode=0o600)
    token.write_text(secret)
    words = ["kronforce_agent", "--address", of.address, "--name", folder.name,
             "--slots", str(slots), "--data-dir", str(folder), "--log-level", "warning",
             "--token-file", str(token)]  # fmt: skip
    product.spawn(folder, "agent", words, started)


class Fleet:
    """A process of simulated agents (`fleet.py`)."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self._process = process

    def until(self, event: str) -> dict[str, Any]:
        """The next such line of it. Raises product.DidNotStart if it ends before."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told: dict[str, Any] = json.loads(line)
            if told["event"] == event:
                return told
        raise product.DidNotStart(f"the fleet ended (exit {self._process.wait()})")


def fleet(of: Controller, count: int) -> AbstractContextManager[Fleet]:
    """So many agents that are enrolled and connect; wait for `ready`."""
    environ = {**product.environment(), "KRONFORCE_JOIN_TOKEN": of.join_token(count)}
    return fleet_at(of.address, count, environ)


@contextmanager
def fleet_at(
    address: str, count: int, environ: Mapping[str, str], *, works: bool = False
) -> Iterator[Fleet]:
    """The same where somebody else started the controller; do they take what they are given?"""
    spec = json.dumps({"address": address, "count": count, "works": works})
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.scale.fleet", spec],
        cwd=product.CHECKOUT,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Fleet(process)
        finally:
            process.kill()


def _free_port() -> int:
    """One that is ours to come back to: a restart must be found where the agents look."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])
