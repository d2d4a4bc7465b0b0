"""What runs wrote, searched, saved and compared through a real controller and its agent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.system.up.test_up import Up, start

__all__ = ["start"]  # a fixture

# Bytes that are no UTF-8, two streams, and a line that differs from run to run.
COMMAND = r"printf '\377 error\n1\n2\n3\n'; echo run $KRONFORCE_RUN_ID; echo error >&2; printf last"


def test_output_is_searched_saved_and_compared(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start("--trust-operators")
    up.wait_for("agent    local")
    job = tmp_path / "talk.json"
    job.write_text(json.dumps({"name": "talk", "task": {"type": "shell", "command": COMMAND}}))
    assert up.cli("job", "apply", "-f", str(job)).returncode == 0
    for _ in range(2):
        ran = up.cli("job", "run", "talk", "--wait")
        assert ran.returncode == 0, ran.stderr
    newer, older = up.cli("run", "list", "talk", "-o", "name").stdout.split()

    found = up.cli("run", "logs", newer, "--grep", "^ERROR", "-i")
    assert (found.returncode, found.stdout) == (0, "stderr:1:error\n"), found.stderr
    saved = up.cli("run", "logs", newer, "--stdout", "--save", str(tmp_path / "out"))
    assert saved.returncode == 0, saved.stderr
    whole = b"\xff error\n1\n2\n3\nrun " + newer.encode() + b"\nlast"
    assert (tmp_path / "out").read_bytes() == whole
    compared = up.cli("run", "diff", older, newer)
    assert compared.returncode == 9, compared.stderr
    assert {f"-run {older}", f"+run {newer}"} <= set(compared.stdout.splitlines())
