#!/usr/bin/env python3
"""Starts and stops one PostgreSQL on loopback for tests, benches and whoever asks.

    python tests/services/postgres.py start|stop|url|pause|resume [--holder PID]

It installs the Debian package where it is missing and root and apt are there, runs as the
unprivileged user `postgres` (as ourselves without root), on a free port, and prints the URL.
All calls of one checkout share one server, guarded by a file lock. Processes that start it with
`--holder` keep it alive until the last of them has said `stop --holder` or is dead. Started
without a holder it stays until a plain `stop`, which ends it whoever holds it. Tests call this
as a process and never import it: the server must not be forked from one that has loaded grpc.
With `KRONFORCE_POSTGRES_SCRATCH=1` it is another server, which does not care for power cuts: what
tests want, and no bench may use. With `KRONFORCE_POSTGRES_NAME` it is one more, of whoever gave the
name: that one may be paused (stopped at once, as by a crash) and resumed on its data and another
port. Standard library only.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

CHECKOUT = Path(__file__).resolve().parents[2]
SCRATCH = os.environ.get("KRONFORCE_POSTGRES_SCRATCH") == "1"
NAME = os.environ.get("KRONFORCE_POSTGRES_NAME", "")
# Outside the checkout: user `postgres` must be able to reach it, whatever our own folders' modes.
HOME = Path(tempfile.gettempdir()) / "-".join(
    [
        "kronforce-postgres",
        *(["scratch"] if SCRATCH else []),
        *([NAME] if NAME else []),
        str(os.getuid()),
        hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:12],
    ]
)
STATE = HOME / "state.json"
# Two suites at once under xdist, each test with a pool of its own.
MAX_CONNECTIONS = 300
APT_LOCK_WAIT_SECS = 300
INSTALL_LIMIT_SECS = 600
START_LIMIT_SECS = 60
# A killed server loses nothing by it, a machine without power would.
WITHOUT_FSYNC = "-c fsync=off -c full_page_writes=off"


class State(TypedDict):
    """What the state file says of a running server."""

    port: int
    binaries: str
    data: str
    holders: list[int]
    # Started without a holder: only a plain stop ends it.
    kept: bool


class Unavailable(Exception):
    """This machine has no PostgreSQL and no way to install one."""


def main() -> int:
    """Run one command and print the server's URL where there is one."""
    parser = argparse.ArgumentParser(description="PostgreSQL for tests, on loopback")
    parser.add_argument("command", choices=[*COMMANDS])
    parser.add_argument("--holder", type=int, help="process id that needs the server")
    arguments = parser.parse_args()
    try:
        with locked():
            return COMMANDS[arguments.command](arguments.holder)
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return 3


def start(holder: int | None) -> int:
    state = read_state()
    if state is None or not answers(state["port"]):
        state = launch()
    if holder is None:
        state["kept"] = True
    else:
        state["holders"] = sorted({*living(state["holders"]), holder})
    STATE.write_text(json.dumps(state))
    print(url(state["port"]))
    return 0


def stop(holder: int | None) -> int:
    state = read_state()
    if state is None:
        return 0
    state["holders"] = (
        [] if holder is None else [h for h in living(state["holders"]) if h != holder]
    )
    if state["holders"] or (holder is not None and state["kept"]):
        STATE.write_text(json.dumps(state))
        return 0
    halt(state)
    return 0


def show(holder: int | None) -> int:
    del holder
    state = read_state()
    if state is None or not answers(state["port"]):
        print("not running", file=sys.stderr)
        return 1
    print(url(state["port"]))
    return 0


def pause(holder: int | None) -> int:
    del holder
    if not NAME or (state := read_state()) is None:
        print("only a server with a name of its own can be paused", file=sys.stderr)
        return 1
    end(state)
    return 0


def resume(holder: int | None) -> int:
    del holder
    if not NAME or (state := read_state()) is None:
        print("only a server with a name of its own can be resumed", file=sys.stderr)
        return 1
    state["port"] = free_port()
    serve(Path(state["binaries"]), Path(state["data"]), state["port"])
    STATE.write_text(json.dumps(state))
    print(url(state["port"]))
    return 0


COMMANDS = {"start": start, "stop": stop, "url": show, "pause": pause, "resume": resume}


def launch() -> State:
    binaries = find_binaries() or install()
    remove_remains()
    data = HOME / "data"
    data.mkdir()
    if os.getuid() == 0:
        shutil.chown(data, "postgres", "postgres")
    command(binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust",
            "--locale=C.UTF-8", "-E", "UTF8", "--no-sync")  # fmt: skip
    port = free_port()
    serve(binaries, data, port)
    return {
        "port": port,
        "binaries": str(binaries),
        "data": str(data),
        "holders": [],
        "kept": False,
    }


def serve(binaries: Path, data: Path, port: int) -> None:
    settings = (
        f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' "
        f"-c max_connections={MAX_CONNECTIONS} {WITHOUT_FSYNC * SCRATCH}"
    )
    command(binaries / "pg_ctl", "-D", data, "-w", "-t", str(START_LIMIT_SECS),
            "-l", data / "server.log", "-o", settings, "start")  # fmt: skip


def halt(state: State) -> None:
    end(state)
    remove_remains()


def end(state: State) -> None:
    if (Path(state["data"]) / "postmaster.pid").exists():
        command(Path(state["binaries"]) / "pg_ctl", "-D", state["data"], "-w", "-m", "immediate",
                "-t", str(START_LIMIT_SECS), "stop", check=False)  # fmt: skip


def remove_remains() -> None:
    STATE.unlink(missing_ok=True)
    shutil.rmtree(HOME / "data", ignore_errors=True)


def command(program: Path, *arguments: str | Path, check: bool = True) -> None:
    """Run as `postgres` where we are root; its output is shown only if it fails."""
    words = [str(program), *map(str, arguments)]
    if os.getuid() == 0:
        words = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                 "--reset-env", *words]  # fmt: skip
    with tempfile.TemporaryFile("w+") as output:
        # A file and not a pipe: the server inherits it and would hold a pipe open.
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                              cwd="/", timeout=START_LIMIT_SECS * 2, check=False)  # fmt: skip
        if check and done.returncode != 0:
            output.seek(0)
            sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{output.read()}")


def find_binaries() -> Path | None:
    """The newest installed server; Debian keeps them outside PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    if found:
        return found[-1].parent
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).resolve().parent if elsewhere else None


def install() -> Path:
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        raise Unavailable("PostgreSQL is not installed, and installing it needs root and apt")
    apt = ["apt-get", "-q", "-o", f"DPkg::Lock::Timeout={APT_LOCK_WAIT_SECS}"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", "postgresql"]):
        done = subprocess.run([*apt, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, env=environment, timeout=INSTALL_LIMIT_SECS,
                              check=False)  # fmt: skip
        if done.returncode != 0:
            raise Unavailable(f"apt-get {words[0]} failed:\n{done.stdout}{done.stderr}")
    binaries = find_binaries()
    if binaries is None:
        raise Unavailable("the package postgresql brought no server")
    return binaries


@contextmanager
def locked() -> Iterator[None]:
    HOME.mkdir(exist_ok=True)
    if HOME.stat().st_uid != os.getuid():
        raise Unavailable(f"{HOME} belongs to somebody else")
    HOME.chmod(0o755)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_state() -> State | None:
    try:
        state: State = json.loads(STATE.read_text())
        return state
    except FileNotFoundError:
        return None


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def living(holders: list[int]) -> list[int]:
    return [holder for holder in holders if Path(f"/proc/{holder}").exists()]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def url(port: int) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


if __name__ == "__main__":
    sys.exit(main())
