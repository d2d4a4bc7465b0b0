#!/usr/bin/env python3
"""Installs a built wheel in a clean environment and runs one job with it, as a user would.

    .ci/smoke_wheel.py dist/kronforce-0.1.0-py3-none-any.whl

What it needs lies in one temporary folder that every process it starts can be recognised by, so
that it can say whether stopping left one behind. Standard library only; every wait has a limit.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
START_LIMIT_SECS = 60
RUN_LIMIT_SECS = 60
# What the documentation promises is 5 s; a loaded CI machine gets more.
STOP_LIMIT_SECS = 30
POLL_SECS = 0.1

JOB = """\
name: smoke
task:
  type: shell
  command: echo "six times seven is $((6 * 7))"
"""


def main() -> int:
    """Install, start, run, stop, and look for what was left behind."""
    wheel = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="kronforce-smoke-") as name:
        folder = Path(name)
        command = install(wheel, folder)
        environment = surroundings(folder)
        log = folder / "server.log"
        with log.open("w") as output:
            server = subprocess.Popen([command, "up"], cwd=folder, env=environment,
                                      stdin=subprocess.DEVNULL, stdout=output,
                                      stderr=output)  # fmt: skip
        try:
            run_one_job(command, folder, environment, server)
            stop(server)
            wait_until("nothing is left behind", lambda: not left(folder), STOP_LIMIT_SECS)
        except BaseException:
            print(f"--- server's output\n{log.read_text()}", file=sys.stderr)
            print(f"--- processes\n{left(folder)}", file=sys.stderr)
            raise
        finally:
            # More than once: a parent that is not dead yet may start its child again.
            while processes := left(folder):
                for pid in processes:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
    print("smoke test of the wheel: fine")
    return 0


def install(wheel: Path, folder: Path) -> str:
    """Make an environment of locked requirements and the wheel; give its `kronforce`."""
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check",
           "--no-input", "install", "--quiet"]  # fmt: skip
    locked = CHECKOUT / "requirements" / "run.txt"
    subprocess.run([*pip, "--require-hashes", "-r", str(locked)], check=True)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    return str(environment / "bin" / "kronforce")


def surroundings(folder: Path) -> dict[str, str]:
    """Give the environment of a user who has set nothing but the folder and free ports."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KRONFORCE_", "PYTHON", "VIRTUAL_ENV", "XDG_"))
    }
    return kept | {
        "HOME": str(folder),
        "KRONFORCE_DATA_DIR": str(folder / "data"),
        "KRONFORCE_GRPC_BIND": f"127.0.0.1:{free_port()}",
        "KRONFORCE_BIND": f"127.0.0.1:{free_port()}",
    }


def run_one_job(
    command: str, folder: Path, environment: dict[str, str], server: subprocess.Popen[bytes]
) -> None:
    def cli(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([command, *words], cwd=folder, env=environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=RUN_LIMIT_SECS, check=False)  # fmt: skip

    def up() -> bool:
        if server.poll() is not None:
            sys.exit(f"kronforce up ended with {server.returncode}")
        return cli("status").returncode == 0

    wait_until("the server answers", up, START_LIMIT_SECS)
    (folder / "smoke.yaml").write_text(JOB)
    expect(cli("job", "apply", "-f", "smoke.yaml"), "")
    expect(cli("job", "run", "smoke", "--follow"), "six times seven is 42")


def expect(done: subprocess.CompletedProcess[str], text: str) -> None:
    if done.returncode != 0 or text not in done.stdout:
        sys.exit(f"{done.args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")


def stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGINT)
    code = server.wait(STOP_LIMIT_SECS)
    if code != 0:
        sys.exit(f"kronforce up ended with {code} on SIGINT")


def left(folder: Path) -> dict[int, str]:
    """Give the processes that carry the folder in their arguments or environment."""
    mark = re.escape(str(folder)).encode()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes()
            known = arguments + (process / "environ").read_bytes()
        except OSError:
            continue
        if re.search(mark, known) and int(process.name) != os.getpid():
            found[int(process.name)] = arguments.replace(b"\0", b" ").decode(errors="replace")
    return found


def wait_until(what: str, holds: Callable[[], bool], limit_secs: float) -> None:
    deadline = time.monotonic() + limit_secs
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"gave up after {limit_secs} s: {what}")
        time.sleep(POLL_SECS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
