"""results.json: rows that were measured take the place of older ones, others stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.bench.table import SCENARIOS

FILE = Path(__file__).with_name("results.json")
_ORDER = {row.id: place for place, row in enumerate(r for s in SCENARIOS for r in s.rows)}


def store(head: dict[str, Any], rows: list[dict[str, Any]], file: Path = FILE) -> None:
    """Each row keeps the commit and date of its own measurement."""
    own = {"commit": head["commit"], "date": head["date"]}
    before = _read(file)
    kept = {row["id"]: row for row in before["rows"] if row["id"] in _ORDER}
    kept |= {row["id"]: {**row, **own} for row in rows}
    # PostgreSQL's is known only when it ran.
    versions = {**before["versions"], **head["versions"]}
    content = {
        **head,
        "versions": versions,
        "rows": sorted(kept.values(), key=lambda row: _ORDER[row["id"]]),
    }
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {"versions": {}, "rows": []}
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
