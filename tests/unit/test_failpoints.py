import subprocess
import sys
from pathlib import Path

import pytest

from kronforce.failpoints import (
    FailpointError,
    Failpoints,
    Plan,
    failpoint,
    parse_plans,
    registered,
)

ON = {"KRONFORCE_TEST_FAILPOINTS": "1"}


def test_a_plan_is_read_with_its_defaults() -> None:
    assert parse_plans("a.b:1:kill, c:3:delay:50,d:2:raise,e:1:delay") == (
        Plan(name="a.b", nth=1, action="kill"),
        Plan(name="c", nth=3, action="delay", delay_ms=50),
        Plan(name="d", nth=2, action="raise"),
        Plan(name="e", nth=1, action="delay", delay_ms=200),
    )


@pytest.mark.parametrize(
    "text", ["a", "a:kill", "a:x:kill", "a:1:explode", "a:1:kill:5", ":1:kill"]
)
def test_a_mistyped_plan_is_refused_rather_than_ignored(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|only delay"):
        parse_plans(text)


def test_the_nth_hit_raises_and_no_other() -> None:
    point = Failpoints({**ON, "FAILPOINT": "here:2:raise"}).register("here")

    point()
    with pytest.raises(FailpointError, match="here"):
        point()
    point()


def test_without_the_flag_the_environment_is_ignored(tmp_path: Path) -> None:
    log = tmp_path / "hits"
    points = Failpoints({"FAILPOINT": "nonsense", "KRONFORCE_FAILPOINT_LOG": str(log)})

    points.register("here")()

    assert not log.exists()


def test_the_first_hit_of_each_point_is_logged_once(tmp_path: Path) -> None:
    log = tmp_path / "hits"
    points = Failpoints({**ON, "KRONFORCE_FAILPOINT_LOG": str(log)})
    one, two = points.register("one"), points.register("two")

    for point in (one, one, two):
        point()

    assert [line.split()[1] for line in log.read_text().splitlines()] == ["one", "two"]
    assert points.names() == ("one", "two")


def test_a_name_cannot_be_registered_twice() -> None:
    failpoint("test.failpoints.once")

    assert "test.failpoints.once" in registered()
    with pytest.raises(ValueError, match="twice"):
        failpoint("test.failpoints.once")


def test_a_killed_process_dies_at_once_and_leaves_its_hit_behind(tmp_path: Path) -> None:
    log = tmp_path / "hits"
    code = "from kronforce.failpoints import failpoint; failpoint('x')(); print('alive')"
    environ = {**ON, "FAILPOINT": "x:1:kill", "KRONFORCE_FAILPOINT_LOG": str(log)}

    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stdout) == (-9, b"")
    assert log.read_text().split()[1] == "x"


def test_a_delay_lets_the_code_go_on() -> None:
    point = Failpoints({**ON, "FAILPOINT": "here:1:delay:1"}).register("here")

    point()
