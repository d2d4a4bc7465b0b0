"""A scenario's outcomes as rows: medians, CPU by process, and the line that is printed.

CPU is in cores used on average while the clock ran; where a row counts runs, also in microseconds
a run. Above NOISY cores of foreign load a figure says more about the neighbours than about us.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from tests.bench.measuring import Outcome
from tests.bench.table import Row

WHO = ("controller", "agent", "launcher", "tasks", "database", "load", "foreign", "steal")
NOISY = 0.1
HEADING = (
    f"{'row':28}{'value':>10} {'':5}{'floor':>7}{'reach':>7}  {'':7}{'n':>6} {'fsync ms':>9}"
    "   cores used (µs a run)"
)


def row_of(row: Row, outcomes: list[Outcome]) -> dict[str, Any]:
    """The row as results.json has it."""
    values = [round(outcome.result[row.key], 3) for outcome in outcomes]
    value = median(values)
    cores = {
        name: round(median(outcome.cores.get(name, 0.0) for outcome in outcomes), 3)
        for name in WHO
        if any(name in outcome.cores for outcome in outcomes)
    }
    made = {
        "id": row.id,
        "what": row.what,
        "value": value,
        "unit": row.unit,
        "floor": row.floor,
        "reach": row.reach,
        "n": min(outcome.result["n"] for outcome in outcomes),
        "runs": values,
        "fsync_ms": round(median(outcome.fsync_ms for outcome in outcomes), 3),
        "cores": cores,
    }
    if row.unit == "/s" and value:
        made["cpu_us_per_run"] = {who: round(used / value * 1e6) for who, used in cores.items()}
    return made


def show(row: Row, made: dict[str, Any], *, with_cores: bool) -> None:
    """One line; rows of one scenario share their CPU, so the first one shows it."""
    verdict = "" if row.holds(made["value"]) else "MISSED"
    reach = "" if row.reach is None else f"{row.reach:,g}"
    print(
        f"{row.id:28}{made['value']:>10,.2f} {row.unit:5}{row.floor:>7,g}{reach:>7}  {verdict:7}"
        f"{made['n']:>6,} {made['fsync_ms']:>9.2f}   {_cores(made) if with_cores else ''}",
        flush=True,
    )


def _cores(made: dict[str, Any]) -> str:
    per_run = made.get("cpu_us_per_run", {})
    words = []
    for who, used in made["cores"].items():
        cost = f" ({per_run[who]})" if who in per_run and who not in {"foreign", "steal"} else ""
        words.append(f"{who} {used:.2f}{cost}")
    noisy = made["cores"].get("foreign", 0) + made["cores"].get("steal", 0) > NOISY
    return "  ".join(words) + ("  NOISY" if noisy else "")
