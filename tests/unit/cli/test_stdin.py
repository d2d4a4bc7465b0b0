"""A lone `-` is standard input, wherever it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("words", [["-f", "-"], ["-"], ["--file=-"], ["--", "-"]])
def test_a_job_is_read_from_standard_input(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kronforce", "job", "validate", *words],
        input="name: piped\ntask: {type: noop}\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "/dev/stdin: piped is valid\n"), done.stderr
