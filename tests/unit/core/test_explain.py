"""The words of explanations. That each is true is tested on both stores, in tests/store."""

from __future__ import annotations

import dataclasses

import pytest

from kronforce.core.exit_hints import exit_sentence, signal_name
from kronforce.core.explain import next_steps, run_sentence, sentence
from kronforce.core.explain_facts import Agent, Facts, Verdict
from kronforce.core.explain_words import coarse, count, names, span, who
from kronforce.core.job_settings import effective
from kronforce.core.lifecycle import TERMINAL, Reason, State
from kronforce.core.targets import AnyAgent, Local, OneAgent, Tagged
from kronforce.v1.job_pb2 import Job, Task

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOW = 1_000 * MINUTE


def job(**fields: object) -> Job:
    made = Job(name="etl", **fields)  # type: ignore[arg-type]  # as the test gives them
    made.task.CopyFrom(Task())
    made.task.noop.SetInParent()
    return made


def facts(state: State, reason: str, **fields: object) -> Facts:
    given: dict[str, object] = {
        "now": NOW, "run_id": "r", "job_name": "etl", "settings": effective(job()),
        "target": AnyAgent(), "created_at": NOW - 3 * MINUTE, "since": NOW - 3 * MINUTE,
    }  # fmt: skip
    return Facts(state=state, reason=reason, **given | fields)  # type: ignore[arg-type]  # the same


@pytest.mark.parametrize(
    ("us", "long", "short"),
    [
        (-5, "0 ms", "0 s"),
        (12_000, "12 ms", "0 s"),
        (59 * SECOND, "59 s", "59 s"),
        (252 * SECOND, "4 m 12 s", "4 m"),
        (180 * SECOND, "3 m", "3 m"),
        (185 * MINUTE, "3 h 5 m", "3 h"),
        (120 * MINUTE, "2 h", "2 h"),
        (50 * 60 * MINUTE, "2 d 2 h", "2 d"),
    ],
)
def test_spans_read_as_people_say_them(us: int, long: str, short: str) -> None:
    assert (span(us), coarse(us)) == (long, short)


def test_small_words() -> None:
    assert (count(1, "agent"), count(1_200, "agent")) == ("1 agent", "1,200 agents")
    assert names(("a", "b")) == "a, b"
    assert names(tuple("abcdef")) == "a, b, c and 3 more"
    assert who(Local()) == "the built-in agent"
    assert who(OneAgent(agent_id=b"x"), "web-1") == "agent web-1"
    assert (who(OneAgent(agent_id=b"x")), who(Tagged(tag="gpu"))) == (
        "its agent", "agents with tag gpu",
    )  # fmt: skip


def test_exit_codes_and_signals_say_what_they_mostly_mean() -> None:
    assert exit_sentence(127) == "exit 127: command not found"
    assert exit_sentence(137) == "exit 137: killed by SIGKILL (out of memory?)"
    assert (exit_sentence(3), signal_name(11), signal_name(400)) == (
        "exit 3", "SIGSEGV", "signal 400",
    )  # fmt: skip


def test_a_slot_is_waited_for_as_the_pages_promise() -> None:
    busy = tuple(Agent(name=f"gpu-{n}", verdict=Verdict.BUSY, busy=4, slots=4) for n in (1, 2))
    lacking = (*busy, Agent(name="web-1", verdict=Verdict.TAG))
    told = facts(State.PENDING, Reason.SLOT, target=Tagged(tag="gpu"), agents=lacking, ahead=4)
    assert sentence(told) == (
        "Waiting 3 m for a slot on agents with tag gpu (2 agents, 8 of 8 slots busy; 4 ahead)."
    )


def offline(*agents: Agent, **fields: object) -> Facts:
    return facts(State.PENDING, Reason.OFFLINE, agents=agents, **fields)


AWAY = Agent(name="web-1", verdict=Verdict.OFFLINE)
DRAINED = Agent(name="web-2", verdict=Verdict.DRAINING)
STOPPING = Agent(name="web-3", verdict=Verdict.DRAINING, by_itself=True)
END = "end the draining: kronforce agent drain web-2 --off"


@pytest.mark.parametrize(
    ("told", "said", "steps"),
    [
        (offline(AWAY), "the agents that fit (web-1) are offline", ["start the agent on its host"]),
        (
            offline(DRAINED, STOPPING),
            "the agents that fit (web-2, web-3) are draining: nothing new is given to them",
            [END],
        ),
        (
            offline(AWAY, DRAINED),
            "the agents that fit are offline (web-1) or draining (web-2)",
            ["start the agent on its host", END],
        ),
        (
            offline(dataclasses.replace(DRAINED, name="local"), target=Local()),
            "the built-in agent is draining: nothing new is given to it",
            ["end the draining: kronforce agent drain local --off"],
        ),
        (
            offline(STOPPING),
            "the agents that fit (web-3) are draining: nothing new is given to them",
            [],
        ),
    ],
)  # fmt: skip
def test_who_is_away_and_who_drains_are_told_apart(
    told: Facts, said: str, steps: list[str]
) -> None:
    assert sentence(told) == f"Waiting 3 m: {said}."
    given = next_steps(State.PENDING, [told], "r", "etl", targets=1)
    assert given[1:-2] == steps


def test_a_failure_is_told_with_attempt_time_place_and_cause() -> None:
    told = facts(
        State.FAILED, Reason.EXIT_CODE, attempt=2, allowed=3, agent="web-3", exit_code=137,
        message="exit 137; 2 processes were killed", started_at=0, finished_at=252 * SECOND,
    )  # fmt: skip
    assert sentence(told) == (
        "Failed on attempt 2 of 3 after 4 m 12 s on web-3: exit 137: killed by SIGKILL "
        "(out of memory?); 2 processes were killed."
    )


def test_what_an_agent_said_in_words_of_its_own_is_kept() -> None:
    told = facts(State.FAILED, "egress_refused", message="169.254.169.254 is refused.",
                 started_at=0, finished_at=SECOND)  # fmt: skip
    assert sentence(told) == "Failed after 1 s: 169.254.169.254 is refused."
    assert sentence(dataclasses.replace(told, message="")) == "Failed after 1 s: egress refused."
    assert sentence(facts(State.PENDING, "solar_flare")) == "Waiting 3 m: solar flare."


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("reason", Reason)
def test_no_pair_of_state_and_reason_breaks_it(state: State, reason: Reason) -> None:
    for fields in ({}, {"started_at": NOW - MINUTE, "finished_at": NOW, "agent": "a", "by": "me"}):
        told = facts(state, reason, **fields)
        text = sentence(told)
        assert text.endswith(".")
        assert "None" not in text
        assert "{" not in text
        steps = next_steps(state, [told], "r", "etl", targets=1)
        assert steps
        assert all(step.strip() for step in steps)


def test_a_run_of_many_targets_counts_them_and_tells_the_worst() -> None:
    told = [
        facts(State.LOST, Reason.AGENT_LOST, agent="a1", started_at=0, finished_at=SECOND),
        facts(State.FAILED, Reason.EXIT_CODE, agent="a2", exit_code=2, started_at=0,
              finished_at=SECOND),
    ]  # fmt: skip
    text = run_sentence(
        State.FAILED, {State.SUCCEEDED: 3, State.FAILED: 1, State.LOST: 1}, told, 5 * SECOND
    )
    assert text == (
        "Failed after 5 s on 5 targets (3 succeeded, 1 failed, 1 lost). Target a2: Failed after "
        "1 s on a2: exit 2."
    )
    assert run_sentence(State.SUCCEEDED, {State.SUCCEEDED: 2}, [], 0) == (
        "Succeeded after 0 ms on 2 targets (2 succeeded)."
    )
    assert next_steps(State.FAILED, told, "r", "etl", targets=5)[-1].endswith("--failed")


def test_what_ended_offers_to_run_it_again_and_what_is_open_to_end_it() -> None:
    for state in State:
        steps = next_steps(state, [facts(state, "")], "r", "etl", targets=1)
        if state in TERMINAL - {State.SUCCEEDED}:
            assert "rerun r" in steps[-1]
        elif state is not State.SUCCEEDED:
            assert "cancel r" in steps[-1]
