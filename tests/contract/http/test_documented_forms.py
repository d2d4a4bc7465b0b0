"""The guide's requests and replies, against a whole controller."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

JOB = {
    "name": "backup",
    "task": {"type": "shell", "command": "echo {{DAY}}"},
    "schedule": {"type": "cron", "value": "0 0 3 * * *"},
    "target": {"type": "local"},
    "group": "ETL",
    "timeout_secs": 60,
    "retry_max": 3,
    "retry_delay_secs": 5,
    "retry_backoff": 2.0,
}


async def test_a_job_is_made_read_changed_and_deleted(site):
    made = await site("POST", "/api/jobs", JOB)
    assert made.status == 201
    assert made.headers["etag"] == f'"{made.json()["etag"]}"'
    job_id = made.json()["id"]
    for reference in (job_id, "backup"):
        read = await site.ok("GET", f"/api/jobs/{reference}")
        read["task"] = {key: read["task"][key] for key in JOB["task"]}
        assert {key: read[key] for key in JOB} == JOB
    changed = await site.ok("PUT", f"/api/jobs/{job_id}", {"retry_max": 1, "timeout_secs": None})
    assert (changed["retry_max"], changed["group"]) == (1, "ETL")
    assert "timeout_secs" not in changed or changed["timeout_secs"] == 0
    assert await site.ok("DELETE", f"/api/jobs/{job_id}") == {"cancelled_runs": 0}
    assert (await site("GET", f"/api/jobs/{job_id}")).status == 404


@pytest.mark.parametrize(
    "schedule",
    [
        {"type": "one_shot", "value": "2036-04-01T00:00:00Z"},
        {"type": "cron", "value": "0 * * * * *"},
        {"type": "on_demand"},
        {"type": "interval", "value": {"interval_secs": 1800}},
    ],
)
async def test_schedules_are_as_documented(site, schedule):
    made = await site.ok("POST", "/api/jobs", {**JOB, "schedule": schedule})
    assert made["schedule"] == schedule


async def test_a_put_of_nothing_changes_nothing(site):
    before = await site.ok("POST", "/api/jobs", JOB)
    after = await site.ok("PUT", "/api/jobs/backup", {})
    assert (after["version"], after["task"]) == (before["version"], before["task"])
    for kind, made in (
        ("variables", {"name": "DAY", "value": "x", "description": "d"}),
        ("agents", None),
    ):
        if made is None:
            ref = await site.world.agent("web")
        else:
            ref = (await site.ok("POST", f"/api/{kind}", made))["name"]
        path = f"/api/{kind}/{ref.replace(' ', '%20')}"
        was, now = await site.ok("GET", path), await site.ok("PUT", path, {})
        assert {**now, "etag": "", "updated_at": ""} == {**was, "etag": "", "updated_at": ""}


async def test_what_was_read_can_be_sent_back_whole(site):
    starting = {**JOB, "tags": ["x"], "starts_at": "2026-01-01T00:00:00Z"}
    job = await site.ok("POST", "/api/jobs", starting)
    variable = await site.ok("POST", "/api/variables", {"name": "V", "value": "1"})
    agent = await site.ok("GET", f"/api/agents/{quote(await site.world.agent('web'))}")
    moved = {"etag", "updated_at", "warnings", "last_seen_at"}
    for kind, was in (("jobs", job), ("variables", variable), ("agents", agent)):
        now = await site.ok("PUT", f"/api/{kind}/{was['id']}", was)
        assert now.keys() | moved == was.keys() | moved
        assert [now[key] for key in now if key not in moved] == [
            was[key] for key in was if key not in moved
        ]


async def test_a_change_of_what_was_changed_meanwhile_is_refused(site):
    etag = (await site("POST", "/api/jobs", JOB)).headers["etag"]
    first = await site("PUT", "/api/jobs/backup", {"priority": 1}, headers={"If-Match": etag})
    assert first.status == 200
    second = await site("PUT", "/api/jobs/backup", {"priority": 2}, headers={"If-Match": etag})
    assert (second.status, second.json()["reason"]) == (412, "ETAG_MISMATCH")
    third = await site("PUT", "/api/jobs/backup", {"priority": 2, "etag": etag.strip('"')})
    assert third.status == 409
    gone = await site("DELETE", "/api/jobs/backup", headers={"If-Match": etag})
    assert gone.status == 412
    now = first.headers["etag"]
    assert (await site("DELETE", "/api/jobs/backup", headers={"If-Match": now})).status == 200


async def test_what_the_server_refuses_is_named_as_it_stands_in_the_body(site):
    wrong = {**JOB, "name": "", "schedule": {"type": "cron", "value": "0 6 * * 1-5"}}
    refused = await site("POST", "/api/jobs", wrong)
    assert refused.status == 400
    said = refused.json()
    assert [each["field"] for each in said["details"]] == ["name", "schedule.value"]
    assert "0 0 6 * * 1-5" in said["error"]
    await site.ok("POST", "/api/jobs", JOB)
    for change, field in (
        ({"retry_max": -1}, "retry_max"),
        ({"task": {"type": "shell", "command": "a\0"}}, "task.command"),
        ({"target": {"type": "agent", "agent_id": "nobody"}}, "target.agent_id"),
        ({"parameters": [{"name": "x y"}]}, "parameters[0].name"),
    ):
        refused = await site("PUT", "/api/jobs/backup", change)
        assert [each["field"] for each in refused.json()["details"]] == [field]


async def test_jobs_are_filtered_and_searched_as_documented(site):
    for name, group in (("load eu", "ETL"), ("load us", "ETL"), ("report", "Ops")):
        await site.ok("POST", "/api/jobs", {**JOB, "name": name, "group": group})
    await site.ok("POST", "/api/jobs/report/pause")

    async def names(query):
        return [job["name"] for job in (await site.ok("GET", f"/api/jobs?{query}"))["data"]]

    assert await names("group=ETL") == ["load eu", "load us"]
    assert await names("search=LOAD%20U&group=ETL") == ["load us"]
    assert await names("status=paused") == ["report"]
    assert await names("group=ETL&status=paused&search=x") == []


async def test_a_list_has_pages_by_number_and_by_token(site):
    for number in range(5):
        await site.ok("POST", "/api/jobs", {**JOB, "name": f"job {number}", "group": "paged"})
    path = "/api/jobs?group=paged"
    first = await site.ok("GET", f"{path}&per_page=2")
    assert next(iter(first)) == "data"
    assert (first["page"], first["per_page"], first["total"], first["total_pages"]) == (1, 2, 5, 3)
    third = await site.ok("GET", f"{path}&page=3&per_page=2")
    assert [job["name"] for job in third["data"]] == ["job 4"]
    plain = await site.ok("GET", f"{path}&page_size=2")
    assert {"page", "per_page", "total_pages"}.isdisjoint(plain)
    then = await site.ok("GET", f"{path}&page_size=2&page_token={plain['next_page_token']}")
    assert [job["name"] for job in then["data"]] == ["job 2", "job 3"]
    for page, field in (("page=101", "page"), ("page=1&per_page=2000", "per_page")):
        refused = await site("GET", f"{path}&{page}")
        assert refused.json()["details"][0]["field"] == field
        assert refused.json()["error"].startswith(f"{field}: is ")


@pytest.mark.parametrize(
    "path",
    ["jobs", "executions", "runs", "agents", "events", "keys", "variables", "audit-log"],
)
async def test_every_list_has_the_same_envelope(site, path):
    listed = await site.ok("GET", f"/api/{path}?page=1&per_page=1")
    envelope = {"data", "next_page_token", "total", "total_exact", "page", "per_page"}
    assert set(listed) == envelope | {"total_pages"}
    assert len(listed["data"]) <= 1
    assert listed["total_pages"] == listed["total"]


async def test_a_trigger_makes_an_execution_that_shows_its_output(site):
    await site.ok("POST", "/api/jobs", {**JOB, "target": {"type": "tagged", "tag": "none"}})
    made = await site.ok("POST", "/api/jobs/backup/trigger")
    [execution_id] = made["execution_ids"]
    shown = await site.ok("GET", f"/api/executions/{execution_id}")
    output = ("stdout", "stderr", "stdout_truncated", "stderr_truncated")
    assert [shown[key] for key in output] == ["", "", False, False]
    for path in ("/api/jobs/backup/executions?", "/api/executions?search=BACK&"):
        for name in ("status", "state"):
            listed = await site.ok("GET", f"{path}{name}=pending")
            assert [each["id"] for each in listed["data"]] == [execution_id]
            assert (await site.ok("GET", f"{path}{name}=failed"))["data"] == []
    cancelled = await site.ok("POST", f"/api/executions/{execution_id}/cancel")
    assert cancelled["state"] == "cancelled"


async def test_groups_are_as_documented(site):
    assert (await site("POST", "/api/jobs/groups", {"name": "ETL"})).status == 201
    await site.ok("POST", "/api/jobs", JOB)
    await site.ok("POST", "/api/jobs", {**JOB, "name": "b", "group": "Default"})
    names = await site.ok("GET", "/api/jobs/groups")
    assert {"Default", "ETL"} <= set(names)
    moved = {"job_ids": ["backup", "b"], "group": "ETL"}
    assert await site.ok("PUT", "/api/jobs/bulk-group", moved) == {"moved_jobs": 1}
    renamed = {"old_name": "ETL", "new_name": "Data Pipeline"}
    assert (await site.ok("PUT", "/api/jobs/rename-group", renamed))["name"] == "Data Pipeline"
    whole = {group["name"]: group["job_count"] for group in await site.ok("GET", "/api/groups")}
    assert whole["Data Pipeline"] == 2
    assert "ETL" not in whole


async def test_keys_and_who_is_calling_are_as_documented(site):
    wanted = {"name": "deploy-bot", "role": "operator", "allowed_groups": ["ETL"]}
    made = await site("POST", "/api/keys", wanted)
    assert made.status == 201
    secret = made.json()["secret"]
    assert secret.startswith("kf_")
    me = await site.ok("GET", "/api/auth/me", key=secret)
    assert {key: me["key"][key] for key in wanted} == wanted
    listed = await site.ok("GET", "/api/keys")
    assert secret not in str(listed)
    await site.ok("DELETE", f"/api/keys/{made.json()['key']['id']}")
    assert (await site("GET", "/api/auth/me", key=secret)).status == 401
    refused = await site("POST", "/api/keys", {"name": "x"})
    assert [each["field"] for each in refused.json()["details"]] == ["role"]


async def test_the_audit_log_is_filtered_as_documented(site):
    await site.ok("POST", "/api/jobs", JOB)

    async def found(query):
        listed = await site.ok("GET", f"/api/audit-log?{query}")
        return [(each["operation"], each["resource_name"]) for each in listed["data"]]

    ago, ahead = (
        (datetime.now(UTC) + timedelta(hours=hours)).isoformat(timespec="seconds")[:-6] + "Z"
        for hours in (-1, 1)
    )
    filters = f"operation=job.created&actor=admin&since={ago}"
    assert ("job.created", "backup") in await found(filters)
    assert await found(f"operation=job.created&since={ahead}") == []
    assert await found("operation=job.created&actor=nobody") == []


async def test_health_needs_no_key_and_tells_of_the_database(site):
    health = await site.ok("GET", "/api/health", key=None)
    assert (health["status"], health["db_ok"]) == ("ok", True)


async def test_secret_variables_read_back_masked(site):
    made = await site.ok("POST", "/api/variables", {"name": "S", "value": "abcdef", "secret": True})
    assert made["value"] == "••••••••"
    kept = await site.ok("PUT", "/api/variables/S", {"value": "••••••••", "description": "x"})
    assert (kept["value"], kept["description"]) == ("••••••••", "x")
    assert "abcdef" not in str(await site.ok("GET", "/api/variables"))


async def test_a_head_is_a_get_without_its_body(site):
    answer = await site("HEAD", "/api/jobs")
    assert (answer.status, answer.body) == (200, b"")


async def test_a_body_that_nobody_would_read_is_refused(site):
    await site.ok("POST", "/api/variables", {"name": "V", "value": "1"})
    refused = await site("DELETE", "/api/variables/V", {"force": True})
    assert refused.status == 400
    assert "send its fields in the query" in refused.json()["error"]
    await site.ok("DELETE", "/api/variables/V?force=true")
