"""A thousand rounds of kills under a mixed load, on both stores, in chapters of some rounds each.

KRONFORCE_KILL_ROUNDS says how many, KRONFORCE_KILL_SEED where to begin: chapter `seed` deals the
same deeds whatever was played before it, so `KRONFORCE_KILL_SEED=17 KRONFORCE_KILL_ROUNDS=20`
plays again what chapter 17 did, on the same store. Each chapter adds a line to build/kills.log.
"""

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.checker.counting import count
from tests.system.checker.rules import judge
from tests.system.rig.cluster import Cluster, cluster
from tests.system.rig.failpoint_round import LAUNCHER_GONE
from tests.system.rig.kill_rounds import Chapter, deal

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

ROUNDS = int(os.environ.get("KRONFORCE_KILL_ROUNDS", "1000"))
FIRST_SEED = int(os.environ.get("KRONFORCE_KILL_SEED", "1"))
# So many that a chapter's end, where everything is waited for, does not cost more than its rounds;
# so few that a failure is read in a minute.
ROUNDS_A_CHAPTER = 20
CHAPTERS = -(-ROUNDS // ROUNDS_A_CHAPTER)
# One order of all deeds for all chapters, so that together they do each of them.
DECK_SEED = 6
# What an agent logs as an error when its launcher is killed, also while it starts (the first one of
# an agent ends that too); and a launcher whose agent is killed while it starts it, so that nobody
# reads its boot id any more.
EXPECTED = (
    LAUNCHER_GONE,
    '"action": "launcher_failed"',
    "the launcher did not start",
    "ERROR the launcher ends",
    "BrokenPipeError",
)
LOG = Path(__file__).resolve().parents[2] / "build" / "kills.log"


@pytest.fixture(params=range(FIRST_SEED, FIRST_SEED + CHAPTERS))
def seed(request: pytest.FixtureRequest) -> int:
    """Give the chapter's number: its seed, and its place in the deck."""
    number: int = request.param
    return number


@pytest.fixture
async def made(request: pytest.FixtureRequest, tmp_path: Path, seed: int) -> AsyncIterator[Cluster]:
    """Give a cluster of which nothing runs yet: on SQLite and PostgreSQL by turns."""
    db = "" if seed % 2 else request.getfixturevalue("postgres_database_url")
    async with cluster(tmp_path, db) as one:
        yield one


async def test_kills_at_any_moment_break_no_promise(made: Cluster, seed: int) -> None:
    deeds = deal(DECK_SEED, (seed - 1) * ROUNDS_A_CHAPTER, ROUNDS_A_CHAPTER)
    chapter = Chapter(cluster=made, rng=random.Random(seed))
    try:
        history = await chapter.play(deeds)
    except AssertionError as late:
        raise AssertionError(f"seed {seed}: {late}; {chapter.told}") from None
    counts = count(history)
    note(f"seed {seed}, {'SQLite' if seed % 2 else 'PostgreSQL'}, {len(deeds)} rounds: {counts}")
    findings = judge(history)
    assert findings == [], f"seed {seed}: {findings}; {chapter.killed}; {chapter.told}"
    assert counts.broken == 0
    complaints = [c for c in made.complaints() if not any(each in c for each in EXPECTED)]
    assert complaints == [], f"seed {seed}: {complaints}"


def note(line: str) -> None:
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("a") as log:
        log.write(line + "\n")
