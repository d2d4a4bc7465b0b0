"""SIGKILL of controller, agent and launcher at each registered failpoint, under a mixed load.

Every point on SQLite, a sample on PostgreSQL: the points where the store makes a difference. The
others on PostgreSQL are in `tests/chaos`.
"""

from collections import Counter
from pathlib import Path

import pytest

from kronforce.core.lifecycle import State
from tests.system.checker.rules import judge
from tests.system.rig.cluster import Cluster, cluster
from tests.system.rig.failpoint_round import LAUNCHER_GONE, Point, play, points

ON_POSTGRESQL = (
    "store.before_commit",
    "store.after_commit",
    "engine.completion.after_commit",
    "engine.output.stored",
    "agent.before_report",
)


async def kill_at(folder: Path, db: str, point: Point) -> None:
    async with cluster(folder, db) as made:
        history = await play(made, point)
        assert judge(history) == []
        assert await in_statistics(made) == await ended(made)
        assert [line for line in made.complaints() if LAUNCHER_GONE not in line] == []


async def in_statistics(made: Cluster) -> dict[str, int]:
    """How many executions ended in each state, as the sums have it that survived the kill."""
    counts = (await made.client.stats.system()).all_kept.executions
    return {field.name: count for field, count in counts.ListFields() if field.name != "total"}


async def ended(made: Cluster) -> dict[str, int]:
    """The same, one execution after another."""
    states = Counter([State(each.state).word async for each in made.client.executions.list()])
    return dict(states)


@pytest.mark.parametrize("point", points(), ids=str)
async def test_a_kill_at_each_failpoint_breaks_no_promise(tmp_path: Path, point: Point) -> None:
    await kill_at(tmp_path, "", point)


@pytest.mark.parametrize("point", [p for p in points() if p.name in ON_POSTGRESQL], ids=str)
async def test_a_kill_at_a_failpoint_breaks_no_promise_on_postgresql(
    tmp_path: Path, point: Point, postgres_database_url: str
) -> None:
    await kill_at(tmp_path, postgres_database_url, point)
