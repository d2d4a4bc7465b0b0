"""`make bench`: every figure of the product on the real product, printed and stored.

Each run of a scenario gets a product of its own; a row's value is the median over its runs. What
could not be measured is said and has no row; what misses its floor is stored as it is.
"""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench import machine, postgresql, profiling, report, results
from tests.bench.measuring import LoadFailed, Outcome, Settings, run_once
from tests.bench.product import DidNotStart
from tests.bench.table import SCENARIOS, Scenario

RUNS = 5
QUICK_SECS = 3.0
QUICK_OUTPUT_BYTES = 256 << 20
QUICK_HISTORY = 20_000
QUICK_SCALE = 0.02


def main() -> int:
    arguments = _arguments()
    chosen = _chosen(arguments.only)
    # `kill` must end the product, too: a leftover controller would spoil the next figures.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    machine.use_two_cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(_folder(arguments.folder)))
        database = None
        if any(scenario.postgresql for scenario in chosen):
            database = stack.enter_context(postgresql.server())
        head = _head(folder, database)
        print(*(f"{name} {value}" for name, value in head.items()), report.HEADING, sep="\n")
        settings = Settings(
            folder=folder,
            seconds=arguments.seconds or (QUICK_SECS if arguments.quick else None),
            output_bytes=QUICK_OUTPUT_BYTES if arguments.quick else None,
            profile=arguments.profile,
            scale=arguments.scale or (QUICK_SCALE if arguments.quick else 1.0),
            history=arguments.history or (QUICK_HISTORY if arguments.quick else 0),
        )
        runs = 1 if arguments.quick else arguments.runs
        failed = 0
        for scenario in chosen:
            rows = _measure(scenario, settings, database, runs)
            failed += not rows
            if rows and arguments.store:
                results.store(head, rows)
    return 1 if failed else 0


def _measure(
    scenario: Scenario, settings: Settings, database: postgresql.Server | None, runs: int
) -> list[dict[str, Any]]:
    outcomes: list[Outcome] = []
    for number in range(runs):
        try:
            outcomes.append(run_once(scenario, settings, database))
        except (LoadFailed, DidNotStart) as error:
            print(f"{scenario.name}: run {number + 1} gave no figure: {error}", file=sys.stderr)
            return []
    rows = [report.row_of(row, outcomes) for row in scenario.rows]
    for number, (row, made) in enumerate(zip(scenario.rows, rows, strict=True)):
        report.show(row, made, with_cores=number == 0)
    return rows


def _chosen(only: str) -> list[Scenario]:
    """By the name of a scenario or of one of its rows."""
    words = {word.strip() for word in only.split(",") if word.strip()}
    names = {s.name: {s.name, *(row.id for row in s.rows)} for s in SCENARIOS}
    unknown = words - set().union(*names.values())
    if unknown:
        raise SystemExit(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return [s for s in SCENARIOS if not words or words & names[s.name]]


def _head(folder: Path, database: postgresql.Server | None) -> dict[str, Any]:
    versions = machine.versions()
    if database is not None:
        versions["postgresql"] = database.version
    return {
        "commit": machine.commit(),
        "date": machine.date(),
        "machine": machine.describe(folder),
        "versions": versions,
    }


def _folder(parent: str) -> tempfile.TemporaryDirectory[str]:
    """Below `parent`, which must not be in memory if figures are to mean anything."""
    return tempfile.TemporaryDirectory(prefix="kronforce-bench-", dir=parent or None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    add = parser.add_argument
    add("--only", default="", help="rows or scenarios, with commas")
    add("--runs", type=int, default=RUNS, help="the median of so many")
    add("--seconds", type=float, help="of each run's window, instead of the scenario's own")
    add("--history", type=int, default=0, help="executions that retention rows begin with")
    add("--scale", type=float, default=0.0, help="part of the sizes that rows of scale have")
    add("--quick", action="store_true", help=f"one run of {QUICK_SECS:g} s, not a figure")
    add("--store", action=argparse.BooleanOptionalAction, default=None,
        help="write results.json; default: only with all runs, windows as usual")  # fmt: skip
    add("--profile", default="", choices=["", *profiling.WHO], help="py-spy into build/bench")
    add("--folder", default="", help="where data goes; default: the system's temporary folder")
    arguments = parser.parse_args()
    if arguments.store is None:
        touched = arguments.quick or arguments.seconds or arguments.profile or arguments.history
        touched = touched or arguments.scale
        arguments.store = not touched and arguments.runs >= RUNS
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
