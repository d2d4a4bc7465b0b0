"""What the running controller says of itself and its agents."""

from datetime import timedelta

import pytest

from kronforce import __version__
from kronforce.host import checks_agents
from kronforce.host.asking import Answer, NoAnswer
from kronforce.host.findings import Verdict
from kronforce.v1.agent_pb2 import (
    AGENT_STATE_OFFLINE,
    AGENT_STATE_ONLINE,
    AGENT_TYPE_CUSTOM,
    Agent,
    AgentFacts,
)
from tests.unit.host.machine import NOW, around, controller_of, found, only


@pytest.fixture
def asked(folder, proc):
    """What is found where the controller that runs says this of its agents."""
    controller_of(folder, proc, pid=42, address="127.0.0.1:5")

    def ask_with(*agents, version=__version__):
        def ask(address):
            assert address == "127.0.0.1:5"
            return Answer(version=version, agents=agents)

        return list(checks_agents.agents(around(folder, proc, ask=ask)))

    return ask_with


@pytest.fixture
def worst(asked):
    """The verdict on each thing that is not fine."""

    def of(*agents, version=__version__):
        found_now = asked(*agents, version=version)
        return {each.check: each.verdict for each in found_now if each.verdict != Verdict.FINE}

    return of


def agent(name="a", *, state=AGENT_STATE_ONLINE, skew=0, version=__version__, **given):
    facts = AgentFacts(version=version)
    return Agent(name=name, state=state, clock_skew_ms=skew, facts=facts, **given)


def test_agents_that_are_well_are_fine(worst):
    assert worst(agent(), agent("b", skew=-900)) == {}


def test_agents_clocks_are_held_against_the_controllers(worst):
    assert worst(agent(skew=2_500)) == {"agents' clocks": Verdict.WARNING}
    assert worst(agent(skew=-61_000)) == {"agents' clocks": Verdict.WRONG}
    assert worst(agent(skew=90_000, state=AGENT_STATE_OFFLINE), agent("b")) == {
        "agents": Verdict.WARNING
    }


def test_of_many_odd_clocks_the_worst_are_shown(asked):
    told = asked(*(agent(f"a{n}", skew=3_000 + n) for n in range(9)))
    clocks = [each.message for each in told if each.check == "agents' clocks"]
    assert clocks[0].startswith("a8 is 3.0 s ahead of")
    assert clocks[-1] == "and 4 more"


def test_absent_agents_are_told_and_none_at_all_is_wrong(worst):
    offline = agent("b", state=AGENT_STATE_OFFLINE)
    assert worst(agent(), offline) == {"agents": Verdict.WARNING}
    assert worst(offline) == {"agents": Verdict.WRONG}
    assert worst() == {"agents": Verdict.WARNING}


def test_agents_that_have_just_gone_may_be_on_their_way_back(worst):
    offline = agent("b", state=AGENT_STATE_OFFLINE)
    offline.disconnected_at.FromDatetime(NOW - timedelta(seconds=50))
    assert worst(offline) == {"agents": Verdict.WARNING}
    offline.disconnected_at.FromDatetime(NOW - timedelta(seconds=70))
    assert worst(offline) == {"agents": Verdict.WRONG}


def test_other_versions_are_told_but_for_agents_of_somebodys_own(worst):
    assert worst(agent(), version="0.0.9") == {
        "server": Verdict.WARNING,
        "agents' versions": Verdict.WARNING,
    }
    assert worst(agent(version="7", agent_type=AGENT_TYPE_CUSTOM)) == {}


@pytest.mark.parametrize(("deaf", "verdict"), [(True, Verdict.WRONG), (False, Verdict.WARNING)])
def test_a_controller_without_an_answer_is_deaf_or_wants_a_key(folder, proc, deaf, verdict):
    controller_of(folder, proc, pid=42, address="127.0.0.1:5")

    def ask(_):
        raise NoAnswer("why", deaf=deaf)

    assert only(checks_agents.agents, around(folder, proc, ask=ask))[0] == verdict


def test_where_no_controller_runs_none_is_asked(folder, proc):
    def ask(address):
        raise AssertionError(address)

    assert found(checks_agents.agents, around(folder, proc, ask=ask)) == []
