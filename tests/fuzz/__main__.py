"""`make fuzz`: each target for its time, some at once; a table, and 1 if anything was found.

    python -m tests.fuzz --secs 60 cron yaml
    python -m tests.fuzz --seed 7 --secs 5 journal      # a batch again that found something

`KRONFORCE_FUZZ_SECS` (600) is each target's time, `KRONFORCE_FUZZ_JOBS` (as many as cores) how
many run at once. Each is a process of its own, so that a crash of the interpreter is one too.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.running import Ran, run
from tests.fuzz.targets import TARGETS

DEFAULT_SECS = 600.0
# Beyond its time: its start, the last batch, and making a found input small.
PATIENCE_SECS = 900.0


def main() -> int:
    """Run what is asked for; how many found something."""
    asked = _arguments()
    if asked.inside:
        return _inside(asked)
    names = asked.targets or list(TARGETS)
    print(f"{len(names)} targets, {asked.secs:g} s each, {asked.jobs} at once, seed {asked.seed}")
    with ThreadPoolExecutor(asked.jobs) as pool:
        done = list(pool.map(lambda name: _outside(name, asked.secs, asked.seed), names))
    _report(done)
    return 1 if any(each.found for each in done) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    environ = os.environ.get
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="target")
    parser.add_argument(
        "--secs", type=float, default=float(environ("KRONFORCE_FUZZ_SECS", DEFAULT_SECS))
    )
    parser.add_argument(
        "--jobs", type=int, default=int(environ("KRONFORCE_FUZZ_JOBS", os.cpu_count() or 1))
    )
    parser.add_argument(
        "--seed", type=int, default=int(environ("KRONFORCE_FUZZ_SEED", random.randrange(10**9)))
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _inside(asked: argparse.Namespace) -> int:
    # What a decoder logs about its callers is not looked at here.
    logging.disable(logging.CRITICAL)
    (name,) = asked.targets
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        ran = run(TARGETS[name], Path(folder), first_seed=asked.seed, secs=asked.secs)
    ran.input = None
    print(json.dumps(asdict(ran)), file=sys.__stdout__)
    return 0


def _outside(name: str, secs: float, seed: int) -> Ran:
    words = ["--inside", "--secs", str(secs), "--seed", str(seed), name]
    try:
        process = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", *words],
            capture_output=True,
            text=True,
            timeout=secs + PATIENCE_SECS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ran(target=name, secs=secs, seed=seed, found="did not end")
    try:
        ran = Ran(**json.loads(process.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        ended = f"ended with {process.returncode}:\n{process.stderr[-8_000:]}"
        return Ran(target=name, secs=secs, seed=seed, found=ended)
    print(f"  {_line(ran)}", flush=True)
    return ran


def _line(ran: Ran) -> str:
    rate = ran.executions / ran.secs if ran.secs else 0.0
    return (
        f"{ran.target:<16} {ran.executions:>10,} inputs {rate:>8,.0f}/s  "
        f"slowest {ran.slowest_secs * 1e3:>6.1f} ms  kept {ran.kept_bytes / 2**20:>5.1f} MiB  "
        f"{'FOUND, seed ' + str(ran.seed) if ran.found else 'nothing found'}"
    )


def _report(done: list[Ran]) -> None:
    print(f"\n{sum(each.executions for each in done):,} inputs")
    for each in done:
        print(_line(each))
    for each in done:
        if each.found:
            print(f"\n==== {each.target}, seed {each.seed}\n{each.found}")


if __name__ == "__main__":
    sys.exit(main())
