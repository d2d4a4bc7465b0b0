"""An earlier version of Kronforce, as it was committed: its controller, agent and client.

The last release, or, while there is none, a commit whose store had an older schema. It is taken
out of the checkout's own history; whoever has none (a shallow clone) goes without these tests.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.system.rig.cluster import Cluster

CHECKOUT = Path(__file__).resolve().parents[3]
# The last one before statistics: between it and this version the store is migrated.
PINNED = "00d9ee194b412d87b5659818fb09747fe67a4af9"
FOLDERS = (".", "agent", "clients/python", "egress", "gateway", "redaction")
PARTS = (
    "kronforce",
    "agent",
    "clients/python",
    "egress",
    "gateway/kronforce_gateway",
    "redaction",
)


def take_out(folder: Path) -> Path:
    """Its packages, in a folder. Skips the test where the history is not there."""
    found = _git("archive", "--format=tar", _revision(), *PARTS)
    if found is None:
        pytest.skip("needs the earlier version in git's history (this clone is shallow)")
    place = folder / "earlier"
    with tarfile.open(fileobj=io.BytesIO(found)) as tar:
        tar.extractall(place, filter="data")
    return place


def environment_of(place: Path) -> dict[str, str]:
    """With it Python finds the earlier packages, and not this checkout's."""
    paths = os.pathsep.join(str(place / each) for each in FOLDERS)
    return {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}


def _revision() -> str:
    told = _git("describe", "--tags", "--abbrev=0", "HEAD")
    return PINNED if told is None else told.decode().strip()


def _git(*words: str) -> bytes | None:
    done = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


class MixedCluster(Cluster):
    """Processes of both over one store; what starts next is of the `earlier` version or not."""

    def __init__(self, folder: Path, db: str) -> None:
        super().__init__(folder, db)
        self.place = take_out(folder)
        self.earlier = False

    def environment(self, failpoint: str = "") -> dict[str, str]:
        found = super().environment(failpoint)
        return found | environment_of(self.place) if self.earlier else found


@asynccontextmanager
async def mixed_cluster(folder: Path, db: str = "") -> AsyncIterator[MixedCluster]:
    """Nothing runs yet; at the end nothing is left."""
    made = MixedCluster(folder, db)
    try:
        yield made
    finally:
        await made.close()
