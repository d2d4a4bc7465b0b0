"""`kronforce up` as a person runs it: real processes, a real terminal's signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

# A broken start must not hang the suite; a good one takes about a second.
LIMIT_SECS = 30.0
# What the command promises of Ctrl-C, and room for a busy machine.
STOP_SECS = 15.0

STUBBORN = 'trap "" TERM; echo up; while :; do sleep 0.2; done'

# Waits for the gate to open, then writes more than one row of output holds.
STEADY = "echo begun; while [ ! -e {{params.gate}} ]; do sleep 0.05; done; seq 20000"


class Up:
    """One `kronforce up`, read line by line."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.environ = {
            **{name: value for name, value in os.environ.items() if "KRONFORCE" not in name},
            "KRONFORCE_DATA_DIR": str(folder),
            "KRONFORCE_GRPC_BIND": "127.0.0.1:0",
            "KRONFORCE_BIND": "127.0.0.1:0",
        }
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kronforce", "up", *arguments],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.lines.append("<end>")
            self._changed.notify_all()

    def wait_for(self, *parts: str) -> str:
        """The first line that holds all of these."""

        def found() -> str | None:
            return next((line for line in self.lines if all(part in line for part in parts)), None)

        with self._changed:
            if not self._changed.wait_for(found, LIMIT_SECS):
                pytest.fail(f"no line with {parts} in:\n" + "\n".join(self.lines))
            return found() or ""

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "kronforce", *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECS,
            check=False,
        )

    def family(self) -> set[int]:
        """The command, what it started, and the launcher with its tasks, who belong to nobody."""
        return {int(each.name) for each in Path("/proc").glob("[0-9]*") if self._is_kin(each)}

    def _is_kin(self, process: Path) -> bool:
        mark = str(self.folder).encode()
        with contextlib.suppress(OSError):
            if mark in os.fsencode((process / "cwd").readlink()):
                return True
            return any(mark in (process / name).read_bytes() for name in ("cmdline", "environ"))
        return False

    def gone(self) -> bool:
        """Whether nothing of the family is left, soon."""
        return until(lambda: not self.family())

    def child(self, word: str) -> int:
        """The process id of our child that runs `kronforce WORD …`."""
        for pid in self.family():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                if words[1:4] == ["-m", "kronforce", word]:
                    return pid
        raise AssertionError(f"no {word}")

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(STOP_SECS)
        self._reader.join(LIMIT_SECS)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECS)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(LIMIT_SECS)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def make(*arguments: str) -> Up:
        started.append(Up(tmp_path / "data", *arguments))
        return started[-1]

    yield make
    for up in started:
        up.close()


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + LIMIT_SECS
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.02)
    return True


def test_from_nothing_to_a_job_that_runs_and_back(start: Callable[..., Up]) -> None:
    up = start("--seed", "--trust-operators")
    up.wait_for("✓ hello", "run ")
    up.wait_for("Try:", "kronforce job run hello --follow")
    text = "\n".join(up.lines)
    endpoint = json.loads((up.folder / "endpoint.json").read_text())
    assert f"gRPC     {endpoint['address']}" in text
    assert f"key      {up.folder}/admin.key" in text
    assert "agent    local," in text
    assert "trust    " in text
    assert "seeded   hello" in text
    ran = up.cli("job", "run", "hello", "--follow")
    assert (ran.returncode, ran.stdout) == (0, "hello from local\n"), ran.stderr
    assert len(up.family()) >= 4
    assert up.interrupt() == 0
    assert "stopped; start again with: kronforce up --seed" in "\n".join(up.lines)
    assert up.gone()
    assert not (up.folder / "endpoint.json").exists()


class Health(BaseHTTPRequestHandler):
    """Says what it was asked, or 503."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.path == "/ok" else 503)
        self.end_headers()
        self.wfile.write(b"got " + body + b"\n")

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output is for its own words."""


def test_an_http_job_runs_out_of_the_box(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start()
    up.wait_for("agent    local")
    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://localhost:{server.server_port}"
        task = {"type": "http", "method": "post", "body": "hello"}
        for name in ("ok", "busy"):
            job = tmp_path / f"{name}.json"
            job.write_text(json.dumps({"name": name, "task": {**task, "url": f"{url}/{name}"}}))
            assert up.cli("job", "apply", "-f", str(job)).returncode == 0
        ok = up.cli("job", "run", "ok", "--follow")
        busy = up.cli("job", "run", "busy", "--follow")
        server.shutdown()
    assert (ok.returncode, ok.stdout) == (0, "got hello\n"), ok.stderr
    assert "HTTP 200 OK, 10 bytes in " in ok.stderr
    assert (busy.returncode, busy.stdout) == (10, "got hello\n"), busy.stderr
    assert "HTTP 503 Service Unavailable" in busy.stderr
    told = json.loads(up.cli("run", "get", "@last", "-o", "json").stdout)
    assert told["outputs"]["status"] == 503
    assert told["executions"][0]["exit_code"] == 503
    assert up.interrupt() == 0


def test_ctrl_c_ends_tasks_that_do_not_want_to(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start()
    up.wait_for("agent    local")
    job = tmp_path / "stubborn.json"
    job.write_text(json.dumps({"name": "stubborn", "task": {"type": "shell", "command": STUBBORN}}))
    assert up.cli("job", "apply", "-f", str(job)).returncode == 0
    assert up.cli("job", "run", "stubborn").returncode == 0
    followed = up.cli("run", "logs", "stubborn")
    assert until(lambda: "up" in up.cli("run", "logs", "stubborn").stdout), followed.stderr
    assert up.interrupt() == 0
    assert up.gone()


def test_a_second_one_on_the_same_folder_is_told_whose_it_is(start: Callable[..., Up]) -> None:
    first = start()
    first.wait_for("agent    local")
    second = start()
    line = second.wait_for("error:")
    assert second.process.wait(LIMIT_SECS) != 0
    pid = json.loads((first.folder / "endpoint.json").read_text())["pid"]
    assert f"process {pid} is the controller of {first.folder}" in line
    assert first.process.poll() is None
    assert (first.folder / "endpoint.json").exists()


def test_an_agent_that_dies_is_started_again(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for("agent    local")
    os.kill(up.child("agent"), signal.SIGKILL)
    up.wait_for("the agent ended", "starting it again in")
    assert until(lambda: "1 of 1 online" in up.cli("status").stdout)


def test_metrics_are_where_the_first_lines_say(start: Callable[..., Up]) -> None:
    up = start("--metrics-bind", "0", "--slots", "3")
    url = up.wait_for("metrics  http://127.0.0.1:").split()[-1]
    up.wait_for("agent    local")

    def scraped() -> str:
        with urllib.request.urlopen(url, timeout=LIMIT_SECS) as answer:
            return str(answer.read().decode())

    assert until(lambda: 'kronforce_agents_total{state="online"} 1.0' in scraped())
    assert "kronforce_agent_slots 3.0" in scraped()


def test_a_task_goes_on_while_the_controller_is_killed_and_started_again(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start("--metrics-bind", "0")
    up.wait_for("agent    local")
    reached = {**json.loads((up.folder / "endpoint.json").read_text()), "pid": 0}
    killed = up.child("controller")
    job = tmp_path / "steady.json"
    job.write_text(json.dumps({"name": "steady", "task": {"type": "shell", "command": STEADY}}))
    assert up.cli("job", "apply", "-f", str(job)).returncode == 0
    gate = tmp_path / "gate"
    assert up.cli("job", "run", "steady", "--param", f"gate={gate}").returncode == 0
    assert until(lambda: "begun" in up.cli("run", "logs", "steady").stdout)
    os.kill(killed, signal.SIGKILL)
    up.wait_for("the controller ended", "starting it again in")
    # It writes, and ends, while nobody is there to be told.
    gate.touch()
    up.wait_for("the controller is back")
    assert up.child("controller") != killed
    found = json.loads((up.folder / "endpoint.json").read_text())
    assert {**found, "pid": 0} == reached
    ended = up.cli("run", "watch", "steady")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    expected = "begun\n" + "".join(f"{number}\n" for number in range(1, 20_001))
    assert up.cli("run", "logs", "steady").stdout == expected
    assert up.interrupt() == 0
    assert up.gone()


def test_killed_without_a_word_it_leaves_nothing_behind(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_for("agent    local")
    up.process.kill()
    assert up.gone()


def test_started_again_it_finds_what_it_left(start: Callable[..., Up]) -> None:
    first = start()
    first.wait_for("agent    local")
    assert first.interrupt() == 0
    key = (first.folder / "admin.key").read_text()
    again = start()
    again.wait_for("agent    local")
    assert (again.folder / "admin.key").read_text() == key
    assert "1 of 1 online" in again.cli("status").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--grpc-bind", "0.0.0.0:0"), "--insecure"),
        (("--db", "mysql://nowhere"), "--db"),
        (("--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.key"), "cannot read the TLS file"),
        (("--db", "postgresql://127.0.0.1:1/none"), "cannot use the database"),
        (("--config", "/nowhere.toml"), "cannot read the config file"),
    ],
)
def test_what_keeps_it_from_starting_is_one_sentence_with_the_way_out(
    start: Callable[..., Up], arguments: tuple[str, ...], said: str
) -> None:
    up = start(*arguments)
    assert up.process.wait(LIMIT_SECS) == 1
    assert said in up.wait_for("error:")
    up.wait_for("<end>")
    assert len(up.lines) == 2
