#!/usr/bin/env python3
"""Prints where a Chromium is, for tests of pages; 3 where it cannot be had.

    python tests/services/chromium.py

One that is installed is taken. Otherwise Debian's package is installed where root and apt are
there. Standard library only.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOCK = Path(tempfile.gettempdir()) / "kronforce-chromium.lock"
APT_LOCK_WAIT_SECS = 300
INSTALL_LIMIT_SECS = 600


def main() -> int:
    """Print the path."""
    found = installed() or install()
    if found is None:
        print("Chromium is not installed, and installing it needs root and apt", file=sys.stderr)
        return 3
    print(found)
    return 0


def installed() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def install() -> str | None:
    """Once a machine, however many ask at the same time."""
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        return None
    apt = ["apt-get", "-q", "-o", f"DPkg::Lock::Timeout={APT_LOCK_WAIT_SECS}"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            if found := installed():
                return found
            subprocess.run([*apt, *words], stdin=subprocess.DEVNULL, stdout=sys.stderr,
                           env=environment, timeout=INSTALL_LIMIT_SECS, check=False)  # fmt: skip
    return installed()


if __name__ == "__main__":
    sys.exit(main())
