"""The recorder, built once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.system.power.recording import NoCompiler, Recording, build


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the recorder's library; without a compiler there is none."""
    try:
        return build(tmp_path_factory.mktemp("recorder"))
    except NoCompiler as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(str(reason))
        pytest.skip(str(reason))


@pytest.fixture
def recording(recorder: Path, tmp_path: Path) -> Recording:
    """Give a recording of what happens below `recorded`, which is still empty."""
    root = tmp_path / "recorded"
    root.mkdir()
    return Recording(library=recorder, root=root, log=tmp_path / "power.log")
