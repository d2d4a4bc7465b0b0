"""The TypeScript compiler for tests: installed once by npm, in exactly the versions of the lock.

    python tests/services/typescript.py

prints the path of `tsc`. Standard library only. Without npm it says so and ends with 1; tests are
skipped then, by name, except in CI.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).with_suffix("")
HOME = CHECKOUT / "build" / "typescript"
COMPILER = HOME / "node_modules" / ".bin" / "tsc"
INSTALL_LIMIT_SECS = 300


def install() -> Path:
    """The compiler, installed where it is missing."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not COMPILER.exists():
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(HERE / name, HOME)
            command = ["npm", "ci", "--no-audit", "--no-fund", "--silent"]
            subprocess.run(command, cwd=HOME, check=True, timeout=INSTALL_LIMIT_SECS)
    return COMPILER


if __name__ == "__main__":
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise SystemExit("npm and Node.js are not installed")
    try:
        print(install())
    except subprocess.SubprocessError as error:
        sys.exit(f"npm could not install TypeScript: {error}")
