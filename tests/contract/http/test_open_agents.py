"""Agents without a key, where the operator of this host allows them: custom ones, and no more."""

from collections.abc import AsyncIterator

import pytest

from kronforce.api.throttle import FAILURES
from tests.contract.access.world import world
from tests.contract.http.conftest import Site

REGISTER = {"name": "open", "agent_type": "custom"}
NEXT = "/api/agent-queue/open/next"


@pytest.fixture
async def host(tmp_path) -> AsyncIterator[Site]:
    async with world(tmp_path, empty=True, open_agents=True) as made:
        yield Site(made)


async def test_a_custom_agent_registers_polls_and_reports_without_a_key(host):
    made = await host("POST", "/api/agents/register", REGISTER, key=None)
    assert made.status == 200
    assert (await host("GET", NEXT, key=None)).status == 204
    assert (await host("GET", "/api/agents/open/task-types", key=None)).json() == []
    beat = await host("POST", "/api/agents/open/heartbeat", {}, key=None)
    assert beat.json()["cancel_execution_ids"] == []


async def test_its_mistakes_are_told_and_are_no_wrong_keys(host):
    await host("POST", "/api/agents/register", REGISTER, key=None)
    viewer = (await host.ok("POST", "/api/keys", {"name": "new", "role": "viewer"}))["secret"]
    for _ in range(FAILURES):
        wrong = await host("POST", "/api/callbacks/execution-result", {"exit": 1}, key=None)
        assert (wrong.status, wrong.json()["details"][0]["field"]) == (400, "exit")
    assert (await host("GET", f"{NEXT}?wait=soon", key=None)).status == 400
    assert (await host("GET", f"{NEXT}?wait=soon", key="kf_" + "1" * 43)).status == 401
    assert (await host("GET", "/api/jobs", key=viewer)).status == 200


async def test_everything_else_still_needs_one(host):
    for verb, path in (("GET", "/api/agents"), ("GET", "/api/jobs"), ("GET", "/api/audit-log")):
        assert (await host(verb, path, key=None)).status == 401, path
    standard = {"name": "open", "agent_type": "standard"}
    assert (await host("POST", "/api/agents/register", standard, key=None)).status == 401


async def test_agents_that_a_key_enrolled_stay_its_own(host):
    key = (await host.ok("POST", "/api/keys", {"name": "agents", "role": "agent"}))["secret"]
    await host.ok("POST", "/api/agents/register", REGISTER, key=key)
    assert (await host("GET", NEXT, key=None)).status == 404
    taken = await host("POST", "/api/agents/register", REGISTER, key=None)
    assert (taken.status, taken.json()["reason"]) == (409, "NAME_TAKEN")


@pytest.mark.parametrize(
    "header",
    [
        {"origin": "http://evil.example"},
        {"sec-fetch-site": "none"},
        {"x-forwarded-for": "203.0.113.7"},
        {"forwarded": "for=203.0.113.7"},
    ],
)
async def test_a_page_in_a_browser_takes_no_work_nor_does_who_comes_through_a_proxy(host, header):
    await host("POST", "/api/agents/register", REGISTER, key=None)
    assert (await host("GET", NEXT, key=None, headers=header)).status == 401
    again = await host("POST", "/api/agents/register", REGISTER, key=None, headers=header)
    assert again.status == 401


async def test_a_wrong_key_is_no_key(host):
    await host("POST", "/api/agents/register", REGISTER, key=None)
    assert (await host("GET", NEXT, key="kf_" + "1" * 43)).status == 401
