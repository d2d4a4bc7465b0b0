"""The guide's custom agent protocol, line by line, against a whole controller."""

import asyncio

import pytest

from tests.contract.access.world import bearer
from tests.contract.http.asgi import ask

REGISTER = {
    "name": "my-python-agent",
    "tags": ["python", "ml"],
    "hostname": "ml-box",
    "address": "0.0.0.0",
    "port": 0,
    "agent_type": "custom",
}
TYPES = [
    {
        "name": "python",
        "description": "Run a Python script",
        "fields": [
            {"name": "script", "label": "Script", "field_type": "textarea", "required": True},
            {"name": "args", "label": "Arguments", "field_type": "text", "required": False},
            {"name": "token", "label": "Token", "field_type": "password", "required": False},
        ],
    }
]
TASK = {
    "type": "custom",
    "agent_task_type": "python",
    "data": {"script": "print('hello')", "args": "--verbose"},
}
JOB = {"name": "work", "task": TASK, "target": {"type": "agent", "agent_id": "my-python-agent"}}
NEXT = "/api/agent-queue/my-python-agent/next"


class Agent:
    """Calls with a key of the role agent."""

    def __init__(self, site, key) -> None:
        self.site = site
        self.key = key

    async def __call__(self, verb, path, body=None):
        return await self.site(verb, path, body, key=self.key)

    async def work(self):
        answer = await self("GET", NEXT)
        assert answer.status == 200, answer.body
        return answer.json()

    def report(self, work, **more):
        return {
            "execution_id": work["execution_id"],
            "job_id": work["job_id"],
            "agent_id": work["agent_id"],
            "status": "succeeded",
            "exit_code": 0,
            "stdout": "output",
            "stderr": "",
            "stdout_truncated": False,
            "stderr_truncated": False,
            "started_at": "2026-03-25T10:00:00Z",
            "finished_at": "2026-03-25T10:00:05Z",
            **more,
        }

    async def call_back(self, work, **more):
        return await self("POST", path_of(work["callback_url"]), self.report(work, **more))


def path_of(url):
    assert url.startswith("http://test/"), url
    return url.removeprefix("http://test")


@pytest.fixture
async def agent(site):
    made = await site.ok("POST", "/api/keys", {"name": "agents", "role": "agent"})
    agent = Agent(site, made["secret"])
    registered = await agent("POST", "/api/agents/register", REGISTER)
    said = registered.json()
    assert (registered.status, said["heartbeat_interval_secs"]) == (200, 10)
    agent.id = said["agent_id"]
    return agent


async def test_the_whole_of_the_guides_example(site, agent):
    assert (await agent("GET", NEXT)).status == 204
    stored = await site.ok("PUT", f"/api/agents/{agent.id}/task-types", TYPES)
    found = (await agent("GET", f"/api/agents/{agent.id}/task-types")).json()
    assert found == stored
    assert [(each["name"], len(each["fields"])) for each in found] == [("python", 3)]
    job = await site.ok("POST", "/api/jobs", JOB)
    run = (await site.ok("POST", "/api/jobs/work/trigger", {}))["run"]
    work = await agent.work()
    assert work["queue_id"] == work["execution_id"]
    assert (work["job_id"], work["agent_id"], work["run_id"]) == (job["id"], agent.id, run["id"])
    assert {key: work["task"][key] for key in TASK} == TASK
    assert (work["run_as"], work["timeout_secs"]) == ("", 0)
    assert (await agent.call_back(work)).status == 200
    shown = await site.ok("GET", f"/api/executions/{work['execution_id']}")
    assert (shown["state"], shown["exit_code"], shown["stdout"]) == ("succeeded", 0, "output")


async def test_a_poll_without_work_is_204_without_a_body(agent):
    answer = await agent("GET", NEXT)
    assert (answer.status, answer.body) == (204, b"")


async def test_a_repeated_callback_is_taken_and_another_refused(site, agent):
    await site.ok("POST", "/api/jobs", JOB)
    await site.ok("POST", "/api/jobs/work/trigger", {})
    work = await agent.work()
    for _ in range(3):
        assert (await agent.call_back(work)).status == 200
    late = await agent.call_back(work, status="failed", exit_code=1)
    assert (late.status, late.json()["reason"]) == (409, "STALE_FENCE")
    forged = await agent("POST", "/api/callbacks/execution-result/1.AAAA", agent.report(work))
    assert (forged.status, forged.json()["reason"]) == (400, "INVALID_FIELD")
    bare = await agent("POST", "/api/callbacks/execution-result", agent.report(work))
    assert (bare.status, bare.json()["details"][0]["field"]) == (400, "attempt")


async def test_a_poll_waits_and_one_whose_caller_leaves_takes_nothing(site, agent):
    await site.ok("POST", "/api/jobs", JOB)
    leaving = asyncio.create_task(gone(site, agent))
    await leaving
    await site.ok("POST", "/api/jobs/work/trigger", {})
    assert (await agent.work())["job_name"] == "work"


async def gone(site, agent):
    """A poll whose connection closes while it waits."""
    began, left = asyncio.Event(), asyncio.Event()
    sent = []

    async def receive():
        began.set()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "scheme": "http", "method": "GET", "path": NEXT,
        "raw_path": NEXT.encode(), "query_string": b"wait=60",
        "headers": [(b"host", b"test"), (b"authorization", f"Bearer {agent.key}".encode())],
        "client": ("127.0.0.1", 4712), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    poll = asyncio.create_task(site.gateway(scope, receive, send))
    await began.wait()
    left.set()
    await poll
    assert [message.get("status") for message in sent][:1] == [499]


async def test_a_head_takes_no_work(site, agent):
    await site.ok("POST", "/api/jobs", JOB)
    await site.ok("POST", "/api/jobs/work/trigger", {})
    assert (await agent("HEAD", NEXT)).status == 405
    assert (await agent.work())["job_name"] == "work"


async def test_a_known_name_is_a_restart_for_its_key_and_taken_for_others(site, agent):
    again = await agent("POST", "/api/agents/register", REGISTER)
    assert (again.status, again.json()["agent_id"]) == (200, agent.id)
    made = await site.ok("POST", "/api/keys", {"name": "others", "role": "agent"})
    other = await site("POST", "/api/agents/register", REGISTER, key=made["secret"])
    assert (other.status, other.json()["reason"]) == (409, "NAME_TAKEN")
    poll = await site("GET", NEXT, key=made["secret"])
    assert (poll.status, poll.json()["reason"]) == (404, "AGENT_NOT_FOUND")


async def test_without_a_key_nobody_registers_polls_or_reports(site):
    for verb, path, body in (
        ("POST", "/api/agents/register", REGISTER),
        ("GET", NEXT, None),
        ("POST", "/api/agents/my-python-agent/heartbeat", {}),
        ("POST", "/api/callbacks/execution-result/1.AAAA", {"execution_id": "x"}),
    ):
        answer = await site(verb, path, body, key=None)
        assert answer.status == 401, path


async def test_a_heartbeat_says_what_is_to_end(site, agent):
    await site.ok("POST", "/api/jobs", JOB)
    run = (await site.ok("POST", "/api/jobs/work/trigger", {}))["run"]
    work = await agent.work()
    beat = f"/api/agents/{agent.id}/heartbeat"
    assert (await agent("POST", beat, {})).json()["cancel_execution_ids"] == []
    await site.ok("POST", f"/api/executions/{work['execution_id']}/cancel", {})
    assert (await agent("POST", beat)).json()["cancel_execution_ids"] == [work["execution_id"]]
    await agent.call_back(work, status="cancelled", exit_code=None)
    assert (await site.ok("GET", f"/api/runs/{run['id']}"))["state"] == "cancelled"


async def test_output_is_shown_while_it_runs(site, agent):
    await site.ok("POST", "/api/jobs", JOB)
    await site.ok("POST", "/api/jobs/work/trigger", {})
    work = await agent.work()
    chunks = [{"stream": "stdout", "offset": 0, "data": "aGVsbG8K"}]
    body = {"attempt": work["attempt"], "chunks": chunks}
    path = f"/api/executions/{work['execution_id']}/output"
    assert (await agent("POST", path, body)).json() == {"stored_sequence": 1, "cancel": False}
    shown = await site.ok("GET", f"/api/executions/{work['execution_id']}")
    assert (shown["state"], shown["stdout"]) == ("running", "hello\n")


async def test_a_job_is_held_against_the_agents_definition(site, agent):
    await site.ok("PUT", f"/api/agents/{agent.id}/task-types", TYPES)
    lacking = await site("POST", "/api/jobs", JOB | {"task": TASK | {"data": {"args": "x"}}})
    assert lacking.json()["details"] == [
        {"field": "task.data.script", "message": "is required: Script"}
    ]
    unknown = await site("POST", "/api/jobs", JOB | {"task": TASK | {"agent_task_type": "ruby"}})
    assert "it has python" in unknown.json()["error"]
    local = await site("POST", "/api/jobs", {"name": "work", "task": TASK})
    assert local.json()["details"][0]["field"] == "target"


async def test_a_password_is_shown_to_the_agent_alone(site, agent):
    await site.ok("PUT", f"/api/agents/{agent.id}/task-types", TYPES)
    data = TASK["data"] | {"token": "hunter2"}
    made = await site.ok("POST", "/api/jobs", JOB | {"task": TASK | {"data": data}})
    assert made["task"]["data"]["token"] == "********"
    kept = await site.ok("PUT", "/api/jobs/work", {"task": made["task"], "timeout_secs": 9})
    assert kept["task"]["data"]["token"] == "********"
    await site.ok("PUT", f"/api/agents/{agent.id}/task-types", [])
    await site.ok("POST", "/api/jobs/work/trigger", {})
    work = await agent.work()
    assert (work["task"]["data"]["token"], work["timeout_secs"]) == ("hunter2", 9)
    for path in ("/api/jobs/work", "/api/jobs", "/api/audit-log", "/api/events"):
        assert "hunter2" not in str(await site.ok("GET", path)), path


async def test_wrong_definitions_are_named_by_field(site, agent):
    wrong = [{"name": "a b"}, {"name": "x", "fields": [{"name": "y", "field_type": "select"}]}]
    answer = await site("PUT", f"/api/agents/{agent.id}/task-types", wrong)
    fields = [each["field"] for each in answer.json()["details"]]
    assert fields == ["task_types[0].name", "task_types[1].fields[0].options"]
    assert (await site("PUT", f"/api/agents/{agent.id}/task-types", {})).status == 400


async def test_its_own_credential_serves_as_well_as_the_key(site, agent):
    said = (await agent("POST", "/api/agents/register", REGISTER)).json()
    answer = await ask(site.gateway, "GET", NEXT, headers=bearer(said["credential"]))
    assert answer.status == 204
