"""`kronforce group …`, and what agents are kept for."""

import json


def groups(cli):
    return [line.split("\t")[:2] for line in cli("group", "list").out.splitlines()]


def test_groups_are_made_filled_renamed_and_deleted(cli, fake):
    for name in ("site", "db"):
        fake.add_job(name)
    assert cli("group", "create", "ops").out == "ops made\n"
    assert cli("group", "assign", "web", "site", "db").out == "2 jobs moved to web\n"
    assert cli("group", "assign", "web", "db").out == "0 jobs moved to web, 1 were there\n"
    assert groups(cli) == [["Default", "0"], ["ops", "0"], ["web", "2"]]
    assert cli("group", "rename", "web", "front end").out == "web is front end now, 2 jobs\n"
    refused = cli("group", "delete", "front end")
    assert (refused.code, "--yes" in refused.err) == (1, True)
    deleted = cli("group", "delete", "front end", "--yes")
    assert deleted.out == "front end deleted, 2 jobs moved to Default\n"


def test_groups_are_shown_as_json(cli, fake):
    fake.add_job("site")
    [group] = json.loads(cli("group", "list", "-o", "json").out)["data"]
    assert (group["name"], group["job_count"]) == ("Default", 1)


def test_an_agent_is_kept_for_groups_and_let_go_again(cli, fake):
    agent = fake.add_agent("web-1", tags=["eu"])
    done = cli("agent", "set", "web-1", "--group", "web", "--group", "ops", "--label", "zone=a")
    assert done.code == 0, done.err
    assert list(agent.allowed_groups) == ["web", "ops"]
    assert (list(agent.tags), dict(agent.labels)) == (["eu"], {"zone": "a"})
    cli("agent", "set", "web-1", "--all-groups", "--no-tags")
    assert [*agent.allowed_groups, *agent.tags] == []
    assert dict(agent.labels) == {"zone": "a"}


def test_setting_nothing_or_both_is_a_mistake_on_the_line(cli, fake):
    fake.add_agent("web-1")
    assert cli("agent", "set", "web-1").code == 2
    both = cli("agent", "set", "web-1", "--group", "web", "--all-groups")
    assert (both.code, "contradict" in both.err) == (2, True)


def test_completion_offers_groups(cli, fake):
    fake.groups.add("ops")
    assert "ops" in cli("completion", "words", "--", "group", "rename", "").out.split()
