from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.system.launcher.rig import Rig, alive

# Not the numbers of another run of these tests on the same host.
_seconds = itertools.count(100_000_000 + os.getpid() * 1000)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A connected agent with a launcher of its own, which ends with the test."""
    rig = await Rig(tmp_path / "data").start()
    yield rig
    await rig.shut_down()


@pytest.fixture
async def offline_rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """The same, not started yet."""
    rig = Rig(tmp_path / "data")
    yield rig
    await rig.shut_down()


@pytest.fixture
def token() -> Iterator[str]:
    """How long a test's `sleep` lasts: names its processes, whatever they do to themselves."""
    seconds = str(next(_seconds))
    yield seconds
    assert alive(f"sleep\0{seconds}") == []
