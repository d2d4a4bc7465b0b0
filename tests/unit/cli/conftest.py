"""The command in this process, against an in-memory controller on a real socket."""

import io
import os
import sys
from dataclasses import dataclass

import pytest

from kronforce.cli.main import main
from kronforce_client.portal import Portal
from tests.fakes.api_server import KEY, FakeController


@dataclass(kw_only=True)
class Done:
    code: int
    out: str
    err: str
    raw: bytes


class Screen(io.TextIOWrapper):
    """A stream that keeps its bytes and says what a test wants of being a terminal."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def bytes(self) -> bytes:
        self.flush()
        return self.buffer.getvalue()


@pytest.fixture
def portal():
    shared = Portal.acquire()
    yield shared
    Portal.release()


@pytest.fixture
def fake(portal):
    """A controller on the loop that the synchronous client uses too: grpc wants only one."""

    async def begin():
        server = FakeController()
        await server.start()
        return server

    server = portal.call(begin())
    yield server
    portal.call(server.close())


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Nothing of this machine's user is read or written."""
    for name in list(os.environ):
        if name.startswith(("KRONFORCE_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KRONFORCE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def kronforce(home, monkeypatch):
    """Run one command line; `terminal=True` makes its streams terminals."""

    def run(*words: str, terminal: bool = False, stdin: str = "") -> Done:
        out, err = Screen(terminal), Screen(terminal)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            code = main(words)
        raw = out.bytes()
        return Done(
            code=int(code),
            out=raw.decode("utf-8", "replace"),
            err=err.bytes().decode("utf-8", "replace"),
            raw=raw,
        )

    return run


@pytest.fixture
def cli(kronforce, fake, monkeypatch):
    """The same, with the fake's address and key in the environment."""
    monkeypatch.setenv("KRONFORCE_ADDRESS", fake.address)
    monkeypatch.setenv("KRONFORCE_KEY", KEY)
    return kronforce
