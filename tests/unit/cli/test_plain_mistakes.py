"""Plain mistakes on the line: a sentence with the way out, never a traceback."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.v1 import api_key_pb2
from tests.fakes.api_server import Refused


@pytest.mark.parametrize("verb", ["get", "logs", "explain", "watch", "rerun"])
def test_a_job_that_never_ran_has_no_runs_yet(cli, fake, verb):
    fake.add_job("never")
    done = cli("run", verb, "never")
    assert done.code == 3
    assert done.err == (
        'error: job "never" has no runs yet, or none that are kept\n'
        "  kronforce job run never makes one\n"
    )


def test_a_job_whose_name_looks_like_the_end_of_an_id_has_no_runs_yet(cli, fake):
    fake.add_job("decade")
    assert 'job "decade" has no runs yet' in cli("run", "get", "decade").err


def test_where_nothing_ever_ran_there_is_no_last_run(cli, fake):
    done = cli("run", "get", "@last")
    assert (done.code, "there are no runs yet" in done.err) == (3, True)


def test_a_job_that_is_not_there_is_still_not_there(cli, fake):
    fake.add_job("backup")
    done = cli("run", "get", "bakup!")
    assert done.code == 3
    assert 'there is no job "bakup!"' in done.err


def test_cancelling_by_a_jobs_name_says_where_its_runs_are(cli, fake):
    fake.add_job("etl")
    done = cli("run", "cancel", "etl")
    assert done.code == 2
    assert '"etl" is no run' in done.err
    assert "kronforce run list etl" in done.err
    assert "CancelRun" not in fake.calls


@pytest.mark.parametrize("content", [None, "a: [1\n", "- 1\n- 2\n"])
@pytest.mark.parametrize("words", [("job", "run", "hello"), ("run", "rerun", "@last")])
def test_a_params_file_that_cannot_be_read_is_one_sentence(cli, fake, home, words, content):
    fake.add_job("hello")
    if content is not None:
        (home / "p.yaml").write_text(content)
    done = cli(*words, "--params-file", "p.yaml")
    assert done.code in (1, 2)
    assert done.err.startswith("error: p.yaml")
    assert "TriggerJob" not in fake.calls


def test_a_file_that_init_cannot_write_is_one_sentence(cli):
    done = cli("job", "init", "/nope/x.yaml")
    assert (done.code, done.err) == (
        1,
        "error: cannot write /nope/x.yaml: No such file or directory\n",
    )


def test_what_the_server_sets_is_ignored_in_a_file_and_that_is_said(cli, fake, home):
    (home / "j.yaml").write_text("name: j\nid: x\nversion: 7\ntask: {type: shell, command: ls}\n")
    done = cli("job", "apply", "-f", "j.yaml")
    assert done.code == 0, done.err
    assert "warning: j.yaml:2  ignored, as the server sets it: id, version" in done.err
    assert "id: x" not in done.err.replace("ignored", "")


@pytest.mark.parametrize("line", [("--address", "http://kf:8080"), ()])
def test_a_url_is_no_address(cli, monkeypatch, line):
    if not line:
        monkeypatch.setenv("KRONFORCE_ADDRESS", "http://kf:8080")
    done = cli(*line, "job", "list")
    assert done.code == 1
    assert done.err.startswith('error: "http://kf:8080" is a URL; an address is host:port')


def test_an_expired_key_is_not_called_valid(cli, fake):
    over, later = Timestamp(), Timestamp()
    over.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
    later.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    fake.keys = {
        name: api_key_pb2.ApiKey(id=name, name=name, role=1, expires_at=at)
        for name, at in (("old", over), ("new", later))
    }
    rows = {line.split("\t")[0]: line.split("\t") for line in cli("key", "list").out.splitlines()}
    assert (rows["old"][5], rows["new"][5]) == ("expired", "valid")


def test_a_key_for_a_group_that_is_not_there_comes_with_a_warning(cli, fake):
    fake.groups = {"Deploy"}
    done = cli("key", "create", "ci", "--role", "operator", "--group", "Deploi")
    assert done.code == 0
    assert 'warning: there is no group "Deploi" yet; groups that look like it: Deploy' in done.err
    right = cli("key", "create", "cd", "--role", "operator", "--group", "Deploy")
    assert "warning" not in right.err


def test_the_audit_log_is_asked_from_so_long_ago(cli, fake):
    assert cli("audit", "list", "--since", "7d").code == 0
    asked = fake.audit.asked[-1].since.ToDatetime(tzinfo=UTC)
    assert abs(datetime.now(UTC) - timedelta(days=7) - asked) < timedelta(minutes=1)
    assert cli("audit", "list", "--since", "soon").code == 2


def test_what_waits_longest_without_a_reason_has_no_empty_brackets(cli, fake, monkeypatch):
    waiting = fake.oldest_waiting
    waiting.job_name, waiting.run_id = "s-queue", "1" * 32
    assert "()" not in cli("status").out
    assert "kronforce run explain 11111111" in cli("status").out
    waiting.state_reason = "max_concurrent"
    assert "(max concurrent)" in cli("status").out


def test_a_key_that_is_refused_is_told_what_was_said(cli, fake):
    refused = Refused(grpc.StatusCode.UNAUTHENTICATED, "BAD_KEY", "it is revoked")
    fake.refuse("ListJobs", refused)
    done = cli("job", "list")
    assert (done.code, "it is revoked" in done.err) == (4, True)


@pytest.mark.parametrize("since", ["999999w", "0001-01-01", "9999-12-31T23:59:59.9-14:00"])
@pytest.mark.parametrize("words", [("audit", "list"), ("job", "fires", "hello")])
def test_a_time_beyond_the_calendar_is_no_traceback(cli, fake, monkeypatch, words, since):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    fake.add_job("hello", timezone="Europe/Berlin")
    done = cli(*words, "--since", since)
    assert done.code in (0, 2)
    assert "Traceback" not in done.err


@pytest.mark.parametrize("days", ["nan", "1e300", "-1e9"])
def test_a_key_that_never_could_expire_is_refused_in_words(cli, fake, days):
    done = cli("key", "create", "ci", "--role", "viewer", "--expires-in-days", days)
    assert done.code == 2
    assert "--expires-in-days" in done.err
    assert fake.keys == {}


@pytest.mark.parametrize("address", ["host:port:x", ":::"])
def test_what_is_neither_a_host_nor_ipv6_is_no_address(cli, fake, address):
    done = cli("--address", address, "job", "list")
    assert (done.code, done.err.startswith(f'error: "{address}" is no address')) == (1, True)


def test_groups_that_are_not_there_are_told_wherever_they_are_named(cli, fake):
    fake.add_agent("web-1")
    for words in (("agent", "set", "web-1"), ("variable", "set", "REGION", "eu")):
        done = cli(*words, "--group", "typo")
        assert done.code == 0, done.err
        assert 'warning: there is no group "typo" yet' in done.err
