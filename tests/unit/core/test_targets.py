from dataclasses import replace

import pytest

from kronforce.core.selector import parse_selector
from kronforce.core.targets import (
    AgentView,
    AllAgents,
    AnyAgent,
    Local,
    OneAgent,
    Selected,
    Tagged,
    Target,
    can_serve,
    choose,
    describe,
    is_fan_out,
    is_member,
    route_key,
)

A, B, C = (bytes([n]) * 16 for n in (1, 2, 3))
AGENT = AgentView(
    agent_id=A,
    tags=frozenset({"gpu"}),
    labels={"os": "linux"},
    task_types=frozenset({"shell", "noop"}),
    free_slots=4,
)
BUILT_IN = AgentView(agent_id=B, local=True, task_types=frozenset({"shell"}), free_slots=4)
TARGETS: list[Target] = [
    Local(),
    OneAgent(agent_id=A),
    OneAgent(agent_id=B),
    Tagged(tag="gpu"),
    AnyAgent(),
    AllAgents(),
    Selected(selector=parse_selector("os=linux")),
]


@pytest.mark.parametrize(
    ("target", "members"),
    list(zip(TARGETS, [{B}, {A}, {B}, {A}, {A, B}, {A, B}, {A}], strict=True)),
)
def test_a_target_names_its_members(target: Target, members: set[bytes]) -> None:
    assert {agent.agent_id for agent in (AGENT, BUILT_IN) if is_member(target, agent)} == members


def test_only_all_and_selectors_make_a_run_target_per_agent() -> None:
    fan_out = [target for target in TARGETS if is_fan_out(target)]

    assert fan_out == [AllAgents(), Selected(selector=parse_selector("os=linux"))]


def test_an_agent_serves_only_task_types_and_groups_that_it_may() -> None:
    reserved = replace(AGENT, allowed_groups=frozenset({"ETL"}))

    assert can_serve(AnyAgent(), "shell", "Default", AGENT)
    assert not can_serve(AnyAgent(), "sql", "Default", AGENT)
    assert not can_serve(Local(), "shell", "Default", AGENT)
    assert can_serve(AnyAgent(), "shell", "ETL", reserved)
    assert not can_serve(AnyAgent(), "shell", "Default", reserved)


def test_most_free_slots_win_then_the_least_recently_used() -> None:
    busy = AgentView(agent_id=A, free_slots=1, last_used=0)
    recent = AgentView(agent_id=B, free_slots=2, last_used=9)
    rested = AgentView(agent_id=C, free_slots=2, last_used=3)

    assert choose([busy, recent, rested]) is rested
    assert choose([busy, recent]) is recent
    assert choose([busy]) is busy


def test_nobody_is_chosen_who_is_full_away_or_draining() -> None:
    unfit = [
        AgentView(agent_id=A, free_slots=0),
        AgentView(agent_id=B, free_slots=1, connected=False),
        AgentView(agent_id=C, free_slots=1, draining=True),
    ]

    assert choose(unfit, sticky_to=A) is None
    assert choose([]) is None


def test_a_sticky_job_goes_back_to_its_agent_while_that_has_a_slot() -> None:
    mine, other = AgentView(agent_id=A, free_slots=1), AgentView(agent_id=B, free_slots=9)

    assert choose([mine, other], sticky_to=A) is mine
    assert choose([replace(mine, free_slots=0), other], sticky_to=A) is other


def test_a_spread_job_prefers_the_agent_with_the_fewest_of_its_own() -> None:
    crowded, empty = AgentView(agent_id=A, free_slots=9), AgentView(agent_id=B, free_slots=1)

    assert choose([crowded, empty], running_here={A: 1}) is empty
    assert choose([crowded, empty], running_here={}) is crowded


def test_routes_differ_in_every_part_and_are_the_same_in_every_process() -> None:
    keys = [
        route_key(target, task_type, group)
        for target in TARGETS
        for task_type in ("shell", "noop")
        for group in ("Default", "ETL")
    ]

    assert len(set(keys)) == len(keys)
    # Stored in rows: this value may never change.
    assert route_key(AnyAgent(), "shell", "Default").hex() == "a490b2335e07dea8"
    assert len(describe(OneAgent(agent_id=A))) == len("agent:") + 32


def test_selectors_that_mean_the_same_share_a_route() -> None:
    first = Selected(selector=parse_selector("a=1,b=2"))
    second = Selected(selector=parse_selector("b==2, a=1"))

    assert route_key(first, "shell", "Default") == route_key(second, "shell", "Default")
