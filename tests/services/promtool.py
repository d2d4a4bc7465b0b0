#!/usr/bin/env python3
"""Prints where `promtool` is, for the test of the alert rules; 3 where it cannot be had.

    python tests/services/promtool.py

One that is installed is taken. Otherwise Debian's package `prometheus` is fetched and unpacked
below `build/`, not installed: no service starts and nothing of the system changes. Standard library
only.
"""

import fcntl
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / "build" / "promtool"
PROMTOOL = HOME / "usr" / "bin" / "promtool"
PACKAGE = "prometheus"
FETCH_LIMIT_SECS = 300


def main() -> int:
    """Print the path."""
    found = shutil.which("promtool") or unpacked()
    if found is None:
        print("promtool needs Debian's apt to be fetched", file=sys.stderr)
        return 3
    print(found)
    return 0


def unpacked() -> str | None:
    """The one below build/, fetched at the first call."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return None
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME.parent / "promtool.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not PROMTOOL.exists() and not (fetch() or (update() and fetch())):
            return None
    return str(PROMTOOL)


def update() -> bool:
    """Let apt learn which packages there are; for root alone."""
    return run(["apt-get", "update", "-q"])


def fetch() -> bool:
    """Fetch the package and unpack it."""
    with tempfile.TemporaryDirectory(prefix="kronforce-promtool-") as folder:
        if not run(["apt-get", "download", "-q", PACKAGE], cwd=folder):
            return False
        (package,) = Path(folder).glob("*.deb")
        return run(["dpkg-deb", "-x", str(package), str(HOME)])


def run(command: list[str], cwd: str | None = None) -> bool:
    """Whether it succeeded; what it says goes to our stderr."""
    try:
        done = subprocess.run(
            command, cwd=cwd, stdout=sys.stderr, timeout=FETCH_LIMIT_SECS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
