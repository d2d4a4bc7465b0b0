"""`kronforce job …`"""

import asyncio
import json

import grpc
import pytest

from tests.fakes.api_server import STATES, STDERR, STDOUT, Refused, Story

HELLO = """\
name: hello
task:
  type: shell
  command: echo hi
schedule:
  type: cron
  value: "*/10 * * * * *"
"""


@pytest.fixture
def hello(home):
    path = home / "hello.yaml"
    path.write_text(HELLO)
    return path


def test_apply_creates_then_says_unchanged_then_updates(cli, hello, fake):
    first = cli("job", "apply", "-f", "hello.yaml")
    assert (first.code, first.out) == (0, "hello\tcreated\t1\n"), first.err
    assert "+   task:" in first.err
    second = cli("job", "apply", "-f", "hello.yaml")
    assert second.out == "hello\tunchanged\t1\n"
    assert second.err == ""
    hello.write_text(HELLO + "retry_max: 2\n")
    third = cli("job", "apply", "-f", "hello.yaml")
    assert third.out == "hello\tupdated\t2\n"
    assert "retry_max: 0 → 2" in third.err


def test_a_dry_run_shows_the_difference_and_changes_nothing(cli, hello, fake):
    done = cli("job", "apply", "-f", "hello.yaml", "--dry-run")
    assert done.code == 0
    assert "+ hello" in done.err
    assert fake.jobs == {}


def test_applying_a_file_leaves_a_paused_job_paused(cli, hello):
    cli("job", "apply", "-f", "hello.yaml")
    cli("job", "pause", "hello")
    assert cli("job", "apply", "-f", "hello.yaml").out.startswith("hello\tunchanged")


def test_an_unknown_field_is_named_with_file_line_and_a_guess(cli, home):
    (home / "bad.yaml").write_text(HELLO + "retrymax: 2\n")
    done = cli("job", "apply", "-f", "bad.yaml")
    assert done.code == 1
    assert "error: bad.yaml:8  retrymax is not a known field" in done.err
    assert 'did you mean "retry_max"?' in done.err


def test_nothing_is_sent_when_one_of_many_files_is_wrong(cli, home, fake):
    jobs = home / "jobs"
    jobs.mkdir()
    (jobs / "a.yaml").write_text(HELLO)
    (jobs / "b.yaml").write_text("name: other\ntask: {type: shel, command: x}\n")
    done = cli("job", "apply", "-f", "jobs")
    assert done.code == 1
    assert "jobs/b.yaml:2  task.type must be one of shell, noop" in done.err
    assert fake.calls == []


def test_a_cron_with_five_fields_is_refused_with_its_place(cli, home):
    (home / "etl.yaml").write_text(HELLO.replace("*/10 * * * * *", "0 6 * * 1-5"))
    done = cli("job", "validate", "etl.yaml")
    assert done.code == 1
    assert "etl.yaml:7  schedule.value" in done.err
    assert "0 0 6 * * 1-5" in done.err


def test_two_documents_with_one_name_are_refused(cli, home):
    (home / "two.yaml").write_text(HELLO + "---\n" + HELLO)
    done = cli("job", "apply", "-f", "two.yaml")
    assert 'name "hello" stands also in two.yaml:1' in done.err


def test_yaml_words_and_times_stay_text(cli, home, fake):
    (home / "env.yaml").write_text(
        "name: env\ntask:\n  type: shell\n  command: x\n"
        "  env: {A: 'no', B: on, C: \"0644\", D: 2026-11-20}\n"
    )
    assert cli("job", "apply", "-f", "env.yaml").code == 0
    (job,) = fake.jobs.values()
    assert dict(job.task.shell.env) == {"A": "no", "B": "on", "C": "0644", "D": "2026-11-20"}


def test_an_anchor_that_explodes_is_refused(cli, home):
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9))
    (home / "bomb.yaml").write_text(f"l0: &l0 [x]\n{levels}\n")
    done = cli("job", "validate", "bomb.yaml")
    assert done.code == 1
    assert "too large" in done.err


def test_a_file_that_is_not_there_is_one_sentence(cli):
    done = cli("job", "apply", "-f", "nope.yaml")
    assert (done.code, done.err) == (1, "error: nope.yaml: there is no such file\n")


def test_the_file_that_init_writes_is_valid(cli, home):
    assert cli("job", "init").code == 0
    assert cli("job", "validate", "hello.yaml").out == "hello.yaml: hello is valid\n"
    assert cli("job", "init").code == 6
    assert cli("job", "init", "ping.yaml", "--type", "http").code == 0
    assert cli("job", "validate", "ping.yaml").out == "ping.yaml: ping is valid\n"


def test_a_list_is_a_table_for_people_and_tabs_for_programs(cli, fake):
    fake.add_job("hello")
    table = cli("job", "list", "--no-color", terminal=True)
    assert "NAME" in table.out
    assert "\x1b" not in table.out
    piped = cli("job", "list")
    assert piped.out.startswith("hello\t")
    assert cli("job", "list", "-o", "name").out == "hello\n"
    form = json.loads(cli("job", "list", "-o", "json").out)
    assert form["data"][0]["name"] == "hello"
    assert form["total"] == 1


def test_an_unknown_job_is_not_found_and_similar_names_are_shown(cli, fake):
    fake.add_job("backup")
    done = cli("job", "get", "bakup")
    assert done.code == 3
    assert 'there is no job "bakup"' in done.err
    assert "backup" in done.err
    assert cli("job", "run", "bakup", "--follow").code == 3


def test_delete_never_asks_without_a_terminal(cli, fake):
    fake.add_job("hello")
    refused = cli("job", "delete", "hello")
    assert refused.code == 1
    assert "--yes" in refused.err
    assert cli("job", "delete", "hello", "--yes").code == 0
    assert fake.jobs == {}


def test_following_passes_bytes_through_and_ends_with_the_outcome(cli, fake):
    fake.add_job(
        "bad",
        Story(
            output=[(STDOUT, b"\x00\xff bytes"), (STDERR, b"oh\n")],
            state=STATES.EXECUTION_STATE_FAILED,
            message="exit 3",
        ),
    )
    done = cli("job", "run", "bad", "--follow")
    assert done.code == 10
    assert done.raw == b"\x00\xff bytes"
    assert "oh\n" in done.err
    assert "failed" in done.err
    quiet = cli("job", "run", "bad", "--follow", "--quiet")
    assert quiet.err == "oh\n"


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (STATES.EXECUTION_STATE_SUCCEEDED, 0),
        (STATES.EXECUTION_STATE_CANCELLED, 11),
        (STATES.EXECUTION_STATE_TIMED_OUT, 12),
        (STATES.EXECUTION_STATE_LOST, 13),
        (STATES.EXECUTION_STATE_EXPIRED, 14),
    ],
)
def test_waiting_ends_with_the_outcome(cli, fake, state, code):
    fake.add_job("job", Story(state=state))
    assert cli("job", "run", "job", "--wait").code == code


def test_waiting_too_long_has_a_code_of_its_own(cli, fake):
    fake.add_job("long", Story(until=asyncio.Event()))
    assert cli("job", "run", "long", "--wait", "--timeout", "0.1").code == 8


def test_params_come_as_text_as_json_and_from_a_file(cli, fake, home):
    fake.add_job("hello")
    (home / "p.yaml").write_text("day: 2026-11-20\nn: 1\n")
    line = ("--params-file", "p.yaml", "--param", "n:=[1, 2]", "--param", "v=1.10")
    assert cli("job", "run", "hello", *line).code == 0
    (run,) = fake.runs.values()
    assert run.params["day"] == "2026-11-20"
    assert list(run.params["n"]) == [1, 2]
    assert run.params["v"] == "1.10"
    assert cli("job", "run", "hello", "--param", "n:=x").code == 2


def test_pause_until_and_resume(cli, fake):
    job = fake.add_job("hello")
    assert cli("job", "pause", "hello", "--until", "2030-01-01T00:00:00Z").code == 0
    assert job.paused_until.seconds == 1893456000
    assert cli("job", "resume", "hello").out == "hello resumed\n"
    assert cli("job", "pause", "hello", "--until", "soon").code == 2


TWO = """\
name: first
task: {type: shell, command: ls}
---
name: second
task: {type: shell, command: ls}
target: {type: agent, agent_id: nobody}
"""


def test_nothing_changes_where_the_server_refuses_one_of_several(cli, home, fake):
    (home / "two.yaml").write_text(TWO)
    done = cli("job", "apply", "-f", "two.yaml")
    assert (done.code, done.out) == (1, "")
    assert "two.yaml:6  target.agent_id  names agent 'nobody', which does not exist" in done.err
    assert "nothing was changed" in done.err
    assert fake.jobs == {}


def test_a_dry_run_says_what_the_server_would_refuse(cli, home, fake):
    (home / "one.yaml").write_text(TWO.partition("---\n")[2])
    done = cli("job", "apply", "-f", "one.yaml", "--dry-run")
    assert done.code == 1
    assert "+ second" in done.err
    assert "one.yaml:3  target.agent_id" in done.err


def test_every_refusal_is_told_at_once(cli, home, fake):
    (home / "two.yaml").write_text(TWO.replace("name: first", "name: first\ntarget: &t {type: "
                                               "agent, agent_id: gone}"))  # fmt: skip
    done = cli("job", "apply", "-f", "two.yaml")
    assert "'gone'" in done.err
    assert "'nobody'" in done.err


def test_what_was_applied_is_told_before_an_error_that_comes_later(cli, home, fake):
    fake.add_agent("nobody")
    (home / "two.yaml").write_text(TWO)
    gone = Refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "x", [("target", "is gone")])
    fake.refuse_after("CreateJob", gone, calls=3)
    done = cli("job", "apply", "-f", "two.yaml")
    assert (done.code, done.out) == (1, "first\tcreated\t1\n")
    assert "1 of 2 jobs were applied before this:\nerror: two.yaml:6  target  is gone" in done.err
    assert cli("job", "apply", "-f", "two.yaml").out == (
        "first\tunchanged\t1\nsecond\tcreated\t1\n"
    )
