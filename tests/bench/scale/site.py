"""What every figure of scale gets: a folder of its own, its sizes, and a watch on the cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import profiling, usage


@dataclass(kw_only=True)
class Site:
    """`spec` is the scenario's load, `database` the URL of PostgreSQL or empty.

    `cores` is filled by what is measured.
    """

    name: str
    folder: Path
    spec: dict[str, Any]
    seconds: float
    database: str = ""
    profile: str = ""
    cores: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def watched(self, pids: dict[str, list[int]]) -> Iterator[None]:
        """Note who used the cores inside, and profile the controller where that is wanted."""
        everybody = {**pids, "load": [*pids.get("load", []), os.getpid()]}
        recording = None
        if self.profile:
            pid = pids[self.profile][0]
            recording = profiling.Recording(self.profile, pid, self.name, self.seconds)
        begin = usage.snapshot(everybody)
        yield
        self.cores = usage.cores_between(begin, usage.snapshot(everybody))
        if recording is not None:
            recording.wait()
