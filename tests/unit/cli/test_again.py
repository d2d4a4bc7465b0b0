"""`kronforce run explain`, `run rerun` and `job clear-history`."""

import json

import pytest

from kronforce.cli.run_explain import further
from kronforce.v1.run_pb2 import RunExplanation
from tests.fakes.api_server import STATES, Story

FAILED = Story(state=STATES.EXECUTION_STATE_FAILED, exit_code=1, message="exit 1")


@pytest.fixture
def failed(cli, fake):
    """A job whose runs fail, and the id of its first."""
    fake.add_job("bad", FAILED)
    cli("job", "run", "bad", "--wait")
    return next(iter(fake.runs))


def test_a_run_explains_itself(cli, failed):
    done = cli("run", "explain", "bad")
    assert done.code == 0, done.err
    assert done.out.splitlines() == ["Failed on local: exit 1.", "  web-1: all slots busy (0 of 4 "
                                     "slots busy)"]  # fmt: skip
    assert f"next: kronforce run logs {failed[-8:]}" in done.err
    assert f"again: kronforce run rerun {failed[-8:]}" in done.err


def test_an_explanation_is_data_too(cli, failed):
    told = json.loads(cli("run", "explain", failed, "-o", "json").out)
    assert (told["run_id"], told["state"]) == (failed, "failed")
    assert told["next_steps"]


def test_targets_that_are_not_listed_have_succeeded_unless_the_list_is_cut():
    told = RunExplanation(run_id="r", further_targets=1, executions=[{}])
    assert further(told) == "1 more target succeeded"
    told = RunExplanation(run_id="r", further_targets=1_200, executions=[{}] * 100)
    assert further(told) == "1,200 more targets are not shown: kronforce run get r"


def test_what_never_ran_cannot_be_explained(cli):
    assert cli("run", "explain", "nope").code == 3


def test_a_run_is_run_again_with_its_params_or_with_others(cli, fake):
    fake.add_job("etl")
    cli("job", "run", "etl", "--param", "day=today", "--wait")
    first = next(iter(fake.runs))
    done = cli("run", "rerun", "@last")
    assert done.code == 0, done.err
    again = list(fake.runs.values())[-1]
    assert (again.rerun_of, again.params["day"]) == (first, "today")
    assert done.out.split("\t")[0] == again.id
    cli("run", "rerun", first, "-p", "day=tomorrow")
    assert list(fake.runs.values())[-1].params["day"] == "tomorrow"


def test_where_nothing_failed_it_says_so(cli, fake):
    fake.add_job("fine")
    cli("job", "run", "fine", "--wait")
    done = cli("run", "rerun", "fine", "--failed")
    assert done.code == 6
    assert "no target has failed" in done.err


def test_all_that_failed_within_an_hour_is_run_again_once(cli, fake, failed):
    fake.add_job("fine")
    cli("job", "run", "fine", "--wait")
    cli("job", "run", "bad", "--wait")
    asked = cli("run", "rerun", "--failed", "--since", "1h")
    assert (asked.code, len(fake.runs)) == (1, 3)
    assert "add --yes" in asked.err
    assert failed[-8:] in asked.err

    done = cli("run", "rerun", "--failed", "--since", "1h", "--job", "bad", "--yes")
    assert done.code == 0, done.err
    assert [line.split("\t")[2] for line in done.out.splitlines()] == list(fake.runs)[:3:2]
    later = cli("run", "rerun", "--failed", "--since", "1s", "--job", "fine", "--yes")
    assert (later.code, later.out) == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "rerun"), "name a run"),
        (("run", "rerun", "x", "--failed", "--since", "1h"), "name a run"),
        (("run", "rerun", "--since", "1h"), "--since goes with --failed"),
        (("run", "rerun", "--failed", "--since", "soon"), "no span of time"),
        (("run", "rerun", "x", "--job", "etl"), "--job goes with --since"),
    ],
)
def test_a_wrong_line_is_refused_with_a_hint(cli, words, said):
    done = cli(*words)
    assert done.code == 2
    assert said in done.err


def test_clearing_a_history_goes_on_until_nothing_is_left(cli, fake):
    fake.add_job("etl")
    for _ in range(6):
        cli("job", "run", "etl", "--wait")
    newest = list(fake.runs)[-1]
    assert cli("job", "clear-history", "etl").code == 1
    done = cli("job", "clear-history", "etl", "--yes")
    assert (done.code, list(fake.runs)) == (0, [newest]), done.err
    assert "5 runs deleted" in done.out
