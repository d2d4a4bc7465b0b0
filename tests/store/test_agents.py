"""Agents and their sessions, on both stores."""

import pytest

from kronforce.core.access import may_see
from kronforce.core.ids import to_text
from kronforce.errors import AgentNotFound, AlreadyExists
from kronforce.store import agents, sessions
from kronforce.store.agents import AgentState, Opening
from tests.store.rows import EVERYTHING, FIRST, NOTHING, NOW, OPS, all_pages, make_agent


def open_session(tx, agent, controller="c1", **values):
    given = {
        "agent_key": agent.key,
        "boot_id": "boot-1",
        "facts": b"facts",
        "slots": 8,
        "task_types": ("shell", "noop"),
        "skew_ms": -5,
    }
    opening = Opening(**given | values)
    return sessions.open_session(tx, opening, controller=controller, now=NOW + 1).epoch


def test_an_agent_is_found_by_id_name_and_credential(tx):
    made = make_agent(tx, "a1", credential_hash=b"secret")

    assert agents.find_agent(tx, "a1") == made
    assert agents.find_agent(tx, to_text(made.id)) == made
    assert agents.get_agent_by_credential(tx, b"secret") == made
    assert agents.find_agent(tx, "A1") is None
    assert (made.tags, made.labels, made.task_types) == (("linux",), {"zone": "a"}, ("shell",))
    assert (made.state, made.session_epoch) == (AgentState.OFFLINE, 0)


def test_a_taken_name_is_refused_until_its_agent_is_deleted(tx):
    made = make_agent(tx, "a1")
    with pytest.raises(AlreadyExists):
        make_agent(tx, "a1", credential_hash=b"other")

    agents.mark_deleted(tx, made.key, NOW)

    assert make_agent(tx, "a1").key != made.key


def test_a_deleted_agent_cannot_come_back_with_its_credential(tx):
    made = make_agent(tx, "a1", credential_hash=b"secret")
    open_session(tx, made)

    gone = agents.mark_deleted(tx, made.key, NOW + 9)

    assert (gone.deleted_at, gone.disconnected_at) == (NOW + 9, NOW + 9)
    assert agents.get_agent_by_credential(tx, b"secret") is None
    assert agents.find_agent(tx, "a1") is None
    assert agents.all_agents(tx) == []
    with pytest.raises(AgentNotFound):
        open_session(tx, made)


def test_sessions_that_are_opened_together_are_each_their_agents_own(tx):
    made = [make_agent(tx, name) for name in ("a1", "a2", "a3")]
    open_session(tx, made[2])
    agents.mark_deleted(tx, made[1].key, NOW)
    openings = [
        Opening(agent_key=each.key, boot_id=each.name, facts=b"", slots=2, task_types=["noop"])
        for each in made
    ]

    first, gone, third = sessions.open_sessions(tx, openings, controller="c1", now=NOW + 1)

    assert gone is None
    assert (first.epoch, first.row.boot_id, first.held) == (1, "a1", [])
    assert (third.epoch, third.row, third.held) == (2, agents.get_agent(tx, made[2].key), [])


def test_each_takeover_raises_the_epoch_and_an_old_session_ends_nothing(tx):
    made = make_agent(tx, "a1")
    first = open_session(tx, made)
    second = open_session(tx, made, boot_id="boot-2")

    assert (first, second) == (1, 2)
    assert not agents.close_session(tx, made.key, first, NOW + 2)
    row = agents.get_agent(tx, made.key)
    assert (row.state, row.boot_id, row.slots) == (AgentState.ONLINE, "boot-2", 8)
    assert (row.clock_skew_ms, row.task_types) == (-5, ("shell", "noop"))

    assert agents.close_session(tx, made.key, second, NOW + 3)
    assert not agents.close_session(tx, made.key, second, NOW + 4)
    assert agents.get_agent(tx, made.key).disconnected_at == NOW + 3


def test_a_controller_that_goes_ends_its_own_sessions_only(tx):
    mine, theirs = make_agent(tx, "mine"), make_agent(tx, "theirs")
    open_session(tx, mine)
    open_session(tx, theirs, controller="c2")

    assert agents.close_sessions(tx, "c1", NOW + 2) == 1
    assert agents.get_agent(tx, mine.key).state is AgentState.OFFLINE
    assert agents.get_agent(tx, theirs.key).state is AgentState.ONLINE


def test_a_heartbeat_does_not_change_the_etag_and_everything_else_does(tx):
    made = make_agent(tx, "a1")

    agents.touch_agents(tx, [(made.key, NOW + 7)])
    touched = agents.get_agent(tx, made.key)
    drained = agents.set_draining(tx, made.key, True)

    assert (touched.last_seen_at, touched.revision) == (NOW + 7, made.revision)
    assert (drained.state, drained.revision) == (AgentState.DRAINING, made.revision + 1)


def test_agents_are_listed_by_name_and_state(tx):
    online, draining = make_agent(tx, "online"), make_agent(tx, "draining", tags=("gpu",))
    make_agent(tx, "away")
    open_session(tx, online)
    open_session(tx, draining)
    agents.set_draining(tx, draining.key, True)

    def names(**filters):
        return [row.name for row in agents.list_agents(tx, EVERYTHING, page=FIRST, **filters).items]

    assert names() == ["away", "draining", "online"]
    assert names(state=AgentState.ONLINE) == ["online"]
    assert names(state=AgentState.OFFLINE) == ["away"]
    assert names(state=AgentState.DRAINING) == ["draining"]
    assert names(tag="gpu") == ["draining"]
    assert names(tag="gp") == []
    paged = all_pages(lambda page: agents.list_agents(tx, EVERYTHING, page=page), 1)
    assert [row.name for row in paged] == names()


def test_enrolling_again_replaces_credential_and_labels(tx):
    made = make_agent(tx, "a1", credential_hash=b"old")

    again = agents.update_registration(
        tx,
        key=made.key,
        credential_hash=b"new",
        registered_by="key",
        agent_type=2,
        tags=("gpu",),
        labels={"zone": "b"},
        task_types=("http",),
        facts=b"f",
        slots=1,
    )

    assert agents.get_agent_by_credential(tx, b"old") is None
    assert agents.get_agent_by_credential(tx, b"new") == again
    assert (again.tags, again.labels, again.agent_type) == (("gpu",), {"zone": "b"}, 2)


def test_an_agent_kept_for_groups_is_seen_by_keys_of_those_alone(tx):
    lists = {"free": (), "ours": ("ops", "web"), "theirs": ("web",), "like": ("ops 2",)}
    for name, groups in lists.items():
        make_agent(tx, name, allowed_groups=groups)

    for scope in (EVERYTHING, OPS, NOTHING):
        seen = agents.list_agents(tx, scope, page=FIRST)
        expected = sorted(name for name, groups in lists.items() if may_see(scope, groups))
        assert [row.name for row in seen.items] == expected
        assert seen.total == len(expected)
        found = [name for name in lists if agents.visible_agent(tx, scope, name)]
        assert sorted(found) == expected
