"""A shell beside a fresh `kronforce up`, for what the pages tell a reader to type."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
# What the pages say; the test's own server listens elsewhere.
ADDRESS = "127.0.0.1:50051"
HTTP_ADDRESS = "127.0.0.1:8080"
START_LIMIT_SECS = 60.0
TOUR_LIMIT_SECS = 240.0
STOP_LIMIT_SECS = 20.0


@dataclass(frozen=True, kw_only=True)
class Pasted:
    """One line and what came of it."""

    line: str
    code: int
    output: str


class Tour:
    """A shell in a folder that looks like the checkout, beside a server."""

    def __init__(self, folder: Path, *, log_level: str = "info") -> None:
        self.folder = folder
        self.environ = {
            **{name: value for name, value in os.environ.items() if "KRONFORCE" not in name},
            "HOME": str(folder),
            "KRONFORCE_DATA_DIR": str(folder / "data"),
            "KRONFORCE_GRPC_BIND": "127.0.0.1:0",
            "KRONFORCE_BIND": "127.0.0.1:0",
            "KRONFORCE_LOG_LEVEL": log_level,
        }
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "examples").symlink_to(CHECKOUT / "examples")
        self.log = folder / "up.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kronforce", "up", "--seed", "--trust-operators"],
                cwd=folder,
                env=self.environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_for("Try:")
            # The hint follows the first result, which may be another job's; lines show this one's.
            self._wait_for("✓ hello")
        except BaseException:
            self.stop()
            raise
        endpoint = json.loads((folder / "data" / "endpoint.json").read_text())
        self.address = endpoint["address"]
        self.http_address = endpoint["http"].removeprefix("http://")

    def _wait_for(self, words: str) -> None:
        deadline = time.monotonic() + START_LIMIT_SECS
        while words not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            threading.Event().wait(0.05)

    def paste(self, lines: Sequence[str]) -> list[Pasted]:
        """Run the lines in one shell; each with its exit code and all it printed."""
        script = ["cd -- " + str(self.folder)]
        for line in lines:
            typed = line.replace(ADDRESS, self.address).replace(HTTP_ADDRESS, self.http_address)
            script += [typed, 'printf "\\n@@ %s @@\\n" "$?"']
        done = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            env={**self.environ, "KRONFORCE_GRPC_BIND": "", "KRONFORCE_BIND": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TOUR_LIMIT_SECS,
            check=False,
        )
        parts = re.split(r"\n@@ (\d+) @@\n", done.stdout)
        outputs, codes = parts[:-1:2], parts[1::2]
        assert len(codes) == len(lines), done.stdout
        return [
            Pasted(line=line, code=int(code), output=output)
            for line, code, output in zip(lines, codes, outputs, strict=True)
        ]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_LIMIT_SECS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def code_blocks(page: str, language: str) -> list[list[str]]:
    """The fenced blocks of a page in a language, as lines."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [block.splitlines() for block in found]
