"""AgentService, but for the streams: enrolling, listing, draining, removing."""

import pytest

from kronforce.errors import Code
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1.agent_pb2 import (
    AGENT_STATE_DRAINING,
    AGENT_STATE_OFFLINE,
    AGENT_STATE_ONLINE,
    AgentFacts,
)
from kronforce.v1.event_service_pb2 import ListEventsRequest


async def token(rig, **fields):
    request = pb.CreateJoinTokenRequest(**fields)
    return (await rig.call("AgentService.CreateJoinToken", request)).token


async def register(rig, name="web-1", key="", **fields):
    request = pb.RegisterAgentRequest(name=name, **fields)
    return await rig.call("AgentService.RegisterAgent", request, key=key)


async def refused_register(rig, name="web-1", key="", **fields):
    request = pb.RegisterAgentRequest(name=name, **fields)
    return await rig.refused("AgentService.RegisterAgent", request, key=key)


async def get(rig, ref):
    return await rig.call("AgentService.GetAgent", pb.GetAgentRequest(agent_id=ref))


async def test_a_join_token_makes_an_agent_with_its_tags_and_labels(rig):
    joined = await register(
        rig,
        join_token=await token(rig, tags=["eu"], labels={"env": "prod"}),
        tags=["gpu"],
        labels={"env": "mine", "rack": "3"},
        facts=AgentFacts(hostname="h", cpus=4),
        slots=8,
    )
    agent = await get(rig, "web-1")

    assert joined.credential.startswith("kfa_")
    assert joined.heartbeat_interval_secs == 10
    assert agent.id == joined.agent_id
    assert list(agent.tags) == ["eu", "gpu"]
    assert agent.labels == {"env": "prod", "rack": "3"}
    assert (agent.state, agent.slots, agent.facts.cpus) == (AGENT_STATE_OFFLINE, 8, 4)
    assert not agent.built_in


async def test_a_token_is_good_for_its_uses_and_no_more(rig):
    text = await token(rig, uses=2)
    await register(rig, "a", join_token=text)
    await register(rig, "b", join_token=text)

    refused = await refused_register(rig, "c", join_token=text)
    assert (refused.code, refused.reason) == (Code.UNAUTHENTICATED, "BAD_JOIN_TOKEN")


async def test_a_token_ends_with_its_time(rig):
    text = await token(rig, ttl_secs=60)
    rig.clock.advance(61)
    assert (await refused_register(rig, join_token=text)).reason == "BAD_JOIN_TOKEN"


@pytest.mark.parametrize("text", ["nonsense", "kfj_00.x", "kfj_" + "0" * 32 + ".secret"])
async def test_a_token_that_nobody_made_is_refused(rig, text):
    assert (await refused_register(rig, join_token=text)).reason == "BAD_JOIN_TOKEN"


async def test_the_secret_of_a_token_counts_not_its_id(rig):
    text = await token(rig)
    assert (await refused_register(rig, join_token=text + "x")).reason == "BAD_JOIN_TOKEN"


async def test_an_agent_whose_reply_was_lost_joins_again_with_its_token(rig):
    text = await token(rig)
    first = await register(rig, join_token=text)
    second = await register(rig, join_token=text)

    assert second.agent_id == first.agent_id
    assert second.credential != first.credential


async def test_a_known_name_is_refused_to_another_token_and_to_a_key(rig):
    await register(rig, join_token=await token(rig))

    for refused in (
        await refused_register(rig, join_token=await token(rig)),
        await refused_register(rig, key="enroller"),
    ):
        assert (refused.code, refused.reason) == (Code.ALREADY_EXISTS, "NAME_TAKEN")


async def test_a_key_enrols_and_enrols_again(rig):
    first = await register(rig, key="enroller")
    second = await register(rig, key="enroller")

    assert second.agent_id == first.agent_id
    rig.secrets["old"], rig.secrets["new"] = first.credential, second.credential
    assert (await refused_register(rig, key="old")).code is Code.UNAUTHENTICATED
    assert (await register(rig, key="new")).agent_id == first.agent_id


async def test_a_credential_updates_the_facts_and_keeps_itself(rig):
    joined = await register(rig, join_token=await token(rig, tags=["eu"]))
    rig.secrets["agent"] = joined.credential
    again = await register(rig, key="agent", tags=["prod"], facts=AgentFacts(version="2"), slots=3)
    agent = await get(rig, "web-1")

    assert (again.agent_id, again.credential) == (joined.agent_id, "")
    assert list(agent.tags) == ["eu"]
    assert (agent.facts.version, agent.slots) == ("2", 3)


async def test_a_credential_cannot_become_another_agent(rig):
    rig.secrets["agent"] = (await register(rig, join_token=await token(rig))).credential
    refused = await refused_register(rig, "web-2", key="agent")
    assert refused.violations[0].field == "name"


async def test_without_a_token_a_key_or_a_credential_nobody_enrols(rig):
    assert (await refused_register(rig)).code is Code.UNAUTHENTICATED
    refused = await refused_register(rig, key="admin")
    assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "ROLE_FORBIDS")
    assert "token" in refused.message


async def test_every_wrong_field_of_an_enrolment_is_named(rig):
    refused = await refused_register(rig, "bulk-x", tags=["a,b"], labels={"fact.os": "x"}, slots=-1)
    assert [v.field for v in refused.violations] == ["name", "slots", "tags[0]", "labels.fact.os"]


async def test_the_limits_of_a_token_are_checked(rig):
    request = pb.CreateJoinTokenRequest(uses=10_001, ttl_secs=59, tags=[""])
    refused = await rig.refused("AgentService.CreateJoinToken", request)
    assert {v.field for v in refused.violations} == {"uses", "ttl_secs", "tags[0]"}


async def test_an_operator_makes_no_tokens(rig):
    request = pb.CreateJoinTokenRequest()
    refused = await rig.refused("AgentService.CreateJoinToken", request, key="operator")
    assert refused.reason == "ROLE_FORBIDS"


async def test_agents_are_listed_by_name_in_pages_and_by_state(rig):
    for name in ("c", "a", "b"):
        await register(rig, name, key="enroller")
    await rig.call("AgentService.DrainAgent", pb.DrainAgentRequest(agent_id="b"))

    first = await rig.call("AgentService.ListAgents", pb.ListAgentsRequest(page_size=2))
    rest = await rig.call(
        "AgentService.ListAgents", pb.ListAgentsRequest(page_token=first.next_page_token)
    )
    assert [a.name for a in [*first.agents, *rest.agents]] == ["a", "b", "c"]
    draining = pb.ListAgentsRequest(state=AGENT_STATE_DRAINING)
    found = await rig.call("AgentService.ListAgents", draining)
    assert [a.name for a in found.agents] == ["b"]
    online = pb.ListAgentsRequest(state=AGENT_STATE_ONLINE)
    assert not (await rig.call("AgentService.ListAgents", online)).agents


async def test_draining_is_told_to_the_session_and_can_be_taken_back(rig):
    await register(rig, key="enroller")
    drained = await rig.call("AgentService.DrainAgent", pb.DrainAgentRequest(agent_id="web-1"))
    assert drained.state == AGENT_STATE_DRAINING
    request = pb.DrainAgentRequest(agent_id="web-1", draining=False)
    assert (await rig.call("AgentService.DrainAgent", request)).state == AGENT_STATE_OFFLINE


async def test_a_removed_agent_is_gone_with_its_credential_and_its_session(rig):
    joined = await register(rig, key="enroller")
    rig.secrets["agent"] = joined.credential
    await rig.call("AgentService.DeleteAgent", pb.DeleteAgentRequest(agent_id="web-1"))

    gone = pb.GetAgentRequest(agent_id=joined.agent_id)
    assert (await rig.refused("AgentService.GetAgent", gone)).reason == "AGENT_NOT_FOUND"
    assert (await refused_register(rig, key="agent")).code is Code.UNAUTHENTICATED
    assert (await register(rig, key="enroller")).agent_id != joined.agent_id


async def test_enrolling_and_removing_are_events(rig):
    await register(rig, join_token=await token(rig))
    await rig.call("AgentService.DeleteAgent", pb.DeleteAgentRequest(agent_id="web-1"))

    request = ListEventsRequest(kind_pattern="agent.*")
    listed = await rig.call("EventService.ListEvents", request)
    assert [(e.kind, e.actor) for e in listed.events] == [
        ("agent.unpaired", "admin"),
        ("agent.registered", "web-1"),
    ]


async def test_a_key_speaks_for_no_agent_that_it_did_not_enrol(rig):
    request = pb.HeartbeatRequest(agent_id="web-1")
    refused = await rig.refused("AgentService.Heartbeat", request, key="enroller")
    assert (refused.code, refused.reason) == (Code.NOT_FOUND, "AGENT_NOT_FOUND")
    assert "/api/agents/register" in refused.message
