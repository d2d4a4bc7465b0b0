"""SIGKILL of controller, agent and launcher at each registered failpoint, under a mixed load."""

import pytest

from tests.system.checker.rules import judge
from tests.system.rig.cluster import Cluster
from tests.system.rig.failpoint_round import LAUNCHER_GONE, Point, play, points


@pytest.mark.parametrize("point", points(), ids=str)
async def test_a_kill_at_each_failpoint_breaks_no_promise(made: Cluster, point: Point) -> None:
    history = await play(made, point)
    assert judge(history) == []
    assert [line for line in made.complaints() if LAUNCHER_GONE not in line] == []
