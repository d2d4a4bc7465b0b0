"""`kronforce webhook …`: what is shown once, and what afterwards."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def here(fake, home, monkeypatch):
    """The fake is the controller of this host: its data folder says where it serves HTTP."""
    folder = home / "data"
    folder.mkdir()
    endpoint = {"address": fake.address, "http": "http://127.0.0.1:8080"}
    (folder / "endpoint.json").write_text(json.dumps(endpoint))
    fake.add_job("build")


def lines(text):
    return dict(line.split("\t") for line in text.splitlines())


def test_the_url_is_shown_once_with_a_line_to_try_it(cli, here):
    done = cli("webhook", "enable", "build")
    assert done.code == 0, done.err
    shown = lines(done.out)
    assert shown.keys() == {"url"}
    assert shown["url"].startswith("http://127.0.0.1:8080/api/webhooks/kfw_")
    assert f"curl -H 'Content-Type: application/json' -d '{{}}' {shown['url']}" in done.err
    later = cli("webhook", "get", "build")
    assert shown["url"] not in later.out
    assert lines(later.out)["signed"] == "not required"


def test_the_name_of_a_new_webhook_is_its_url(cli, here):
    first = cli("webhook", "enable", "build", "-o", "name").out.strip()
    second = cli("webhook", "rotate", "build", "--yes", "-o", "name").out.strip()
    assert first.startswith("http://127.0.0.1:8080/api/webhooks/kfw_")
    assert second.startswith("http://127.0.0.1:8080/api/webhooks/kfw_")
    assert first != second


def test_a_signed_one_has_a_secret_too(cli, here):
    done = cli("webhook", "enable", "build", "--hmac", "--body", "params")
    assert lines(done.out)["secret"] == "kfs_secret"
    assert "openssl dgst -sha256" in done.err
    shown = lines(cli("webhook", "get", "build").out)
    assert (shown["signed"], shown["body"]) == ("required", "params")


def test_where_http_is_served_elsewhere_the_path_is_shown_and_said_to_be_one(cli, fake):
    fake.add_job("build")
    done = cli("webhook", "enable", "build")
    assert lines(done.out)["url"].startswith("/api/webhooks/kfw_")
    assert "HTTP address" in done.err
    assert "https://CONTROLLER/api/webhooks/kfw_" in done.err


def test_the_url_that_others_reach_wins(cli, here, fake):
    fake.webhooks.public_url = "https://kf.example"
    done = cli("webhook", "enable", "build", "-o", "name")
    assert done.out.startswith("https://kf.example/api/webhooks/kfw_")


def test_all_webhooks_are_listed_by_job(cli, here, fake):
    fake.add_job("also")
    for name in ("build", "also"):
        cli("webhook", "enable", name)
    rows = [line.split("\t") for line in cli("webhook", "list").out.splitlines()]
    assert [(row[0], row[2], row[5]) for row in rows] == [
        ("also", "no", "tester"),
        ("build", "no", "tester"),
    ]
    assert len(json.loads(cli("webhook", "list", "-o", "json").out)["data"]) == 2


def test_ending_a_url_is_asked_for(cli, here):
    cli("webhook", "enable", "build")
    for verb in ("rotate", "disable"):
        refused = cli("webhook", verb, "build")
        assert (refused.code, "--yes" in refused.err) == (1, True)
    assert cli("webhook", "disable", "build", "--yes").out == "webhook of build disabled\n"
    assert cli("webhook", "get", "build").code != 0


def test_a_job_that_is_not_there_is_told_with_those_that_look_like_it(cli, here):
    done = cli("webhook", "enable", "biuld")
    assert "build" in done.err
    assert done.code != 0


def test_data_is_the_apis_own_form(cli, here):
    issued = json.loads(cli("webhook", "enable", "build", "-o", "json").out)
    assert issued.keys() == {"webhook", "token", "path", "secret", "url"}
    shown = json.loads(cli("webhook", "get", "build", "-o", "json").out)
    assert shown["body_as"] == "envelope"


def test_completion_offers_jobs(cli, here):
    assert cli("completion", "words", "--", "webhook", "enable", "").out.split() == ["build"]


def test_the_jobs_of_the_page_are_valid(cli):
    example = Path(__file__).parents[3] / "examples" / "webhooks.yaml"
    done = cli("job", "validate", str(example))
    assert done.code == 0, done.err
