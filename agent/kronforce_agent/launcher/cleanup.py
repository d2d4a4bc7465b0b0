"""Kills what dead launchers left behind; the agent calls it before its hello."""

from __future__ import annotations

from pathlib import Path


def kill_leftovers(data_dir: Path) -> int:
    """Kill every process of attempts whose launcher has died. Returns how many were killed."""
    raise NotImplementedError(data_dir)
