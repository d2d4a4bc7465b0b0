"""What the store says of scheduled runs, read from the file beside the controller."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

_RUNS = (
    "SELECT f.nominal_at, r.id, r.state, r.started_at, r.created_at FROM fires f "
    "JOIN runs r ON r.key = f.run_key WHERE f.run_key IS NOT NULL"
)
_SKIPPED = "SELECT coalesce(sum(count), 0) FROM fires WHERE run_key IS NULL"
_OPEN = "SELECT count(*) FROM runs WHERE finished_at IS NULL"
_DONE = "SELECT count(*) FROM runs WHERE finished_at IS NOT NULL"


def fired(folder: Path) -> list[Any]:
    """(nominal instant, run id, state, started, made) of every instant that fired."""
    return _ask(folder, _RUNS)


def skipped(folder: Path) -> int:
    """Instants that made no run."""
    return int(_ask(folder, _SKIPPED)[0][0])


def finished(folder: Path) -> int:
    """Runs that have ended."""
    return int(_ask(folder, _DONE)[0][0])


def unfinished(folder: Path) -> int:
    return int(_ask(folder, _OPEN)[0][0])


def _ask(folder: Path, question: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{folder}/kronforce.db?mode=ro", uri=True)) as connection:
        return connection.execute(question).fetchall()
