"""What holds for every command: help, errors, exit codes, settings, discovery."""

import json
import os
import subprocess
import sys

import pytest

from kronforce.cli.tree import ALONE, NOUNS
from tests.fakes.api_server import KEY, STATES, STDERR, STDOUT, Story

VERBS = [
    (noun, verb)
    for noun, (_, verbs) in NOUNS.items()
    for verb, (target, _) in verbs.items()
    if "process" not in target
]


def test_help_names_every_command(kronforce):
    front = kronforce("--help")
    assert front.code == 0
    for noun, (_, verbs) in NOUNS.items():
        assert f"  {noun}" in front.out
        page = kronforce(noun, "--help").out
        assert "Examples:" in page
        for verb in verbs:
            assert f"  {verb}" in page
    for name in ALONE:
        assert f"  {name}" in front.out


@pytest.mark.parametrize(("noun", "verb"), VERBS)
def test_every_verb_has_help_with_its_flags(kronforce, noun, verb):
    done = kronforce(noun, verb, "--help")
    assert done.code == 0
    assert f"kronforce {noun} {verb}" in done.out


def test_help_and_version_load_neither_grpc_nor_the_parser():
    script = (
        "import sys; from kronforce.cli.main import main\n"
        "for words in (['version'], ['--help'], ['job'], ['job', '--help']): main(words)\n"
        "heavy = {'grpc', 'cyclopts', 'rich', 'google.protobuf'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_client_and_command_load_on_a_system_without_fcntl_and_pidfds():
    script = (
        "import sys, os\n"
        "sys.modules['fcntl'] = None\n"
        "if hasattr(os, 'pidfd_open'): del os.pidfd_open\n"
        "import importlib, kronforce_client\n"
        "from kronforce.cli.tree import ALONE, NOUNS\n"
        "import kronforce.cli.commands\n"
        "for name in kronforce_client.__all__: getattr(kronforce_client, name)\n"
        "targets = [t for _, verbs in NOUNS.values() for t, _ in verbs.values()]\n"
        "targets += [t for n, (t, _) in ALONE.items() if n not in ('up', 'controller')]\n"
        "for target in targets:\n"
        "    if 'process' not in target: importlib.import_module(target.partition(':')[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_reader_that_leaves_is_no_error(fake, home):
    for number in range(2000):
        fake.add_job(f"job-{number:04}")
    line = f"{sys.executable} -m kronforce job list --limit 1000 -o json | head -c 10"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        env={**os.environ, "KRONFORCE_ADDRESS": fake.address, "KRONFORCE_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


def test_a_stopped_server_says_what_to_do(cli, fake, portal):
    portal.call(fake.stop())
    done = cli("job", "list")
    assert done.code == 7
    assert f"error: cannot reach {fake.address} (connection refused)" in done.err
    assert "kronforce up" in done.err


def test_a_wrong_key_and_no_key_say_what_to_do(cli, fake, monkeypatch):
    wrong = cli("--key", "kf_wrong", "job", "list")
    assert wrong.code == 4
    assert "another key" in wrong.err
    monkeypatch.delenv("KRONFORCE_KEY")
    none = cli("job", "list")
    assert none.code == 4
    assert "no key was found" in none.err


def test_usage_errors_are_two_and_name_the_help(cli):
    done = cli("job", "frobnicate")
    assert done.code == 2
    assert "frobnicate" in done.err
    assert cli("job", "list", "-o", "xml").code == 2
    assert cli("job", "get").code == 2
    assert cli("--address").code == 2


def test_flags_stand_anywhere_on_the_line(kronforce, fake):
    fake.add_job("hello")
    line = ("--address", fake.address, "job", f"--key={KEY}", "list", "-o", "name")
    assert kronforce(*line).out == "hello\n"


def test_the_server_of_this_host_is_found_by_its_data_folder(kronforce, fake, home):
    data = home / "data"
    data.mkdir()
    endpoint = {"address": fake.address, "tls": False, "ca_file": ""}
    (data / "endpoint.json").write_text(json.dumps(endpoint))
    (data / "admin.key").write_text(KEY + "\n")
    assert kronforce("key", "whoami", "-o", "name").out == "admin\n"


def test_a_stored_key_is_not_given_to_another_address(kronforce, fake, home):
    data = home / "data"
    data.mkdir()
    (data / "endpoint.json").write_text(json.dumps({"address": "127.0.0.1:1"}))
    (data / "admin.key").write_text(KEY)
    done = kronforce("--address", fake.address, "key", "whoami")
    assert done.code == 4


def test_login_checks_and_remembers(kronforce, fake, home, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    bad = kronforce("login", "--address", fake.address, stdin="kf_wrong\n")
    assert bad.code == 4
    done = kronforce("login", "--address", fake.address, stdin=KEY + "\n")
    assert done.code == 0, done.err
    assert KEY not in done.out + done.err
    stored = home / "config" / "kronforce" / "contexts.json"
    assert stored.stat().st_mode & 0o777 == 0o600
    assert kronforce("key", "whoami", "-o", "name").out == "admin\n"
    assert kronforce("--context", "nope", "key", "whoami").code == 3


def test_a_run_is_explained(cli, fake):
    fake.add_job(
        "bad",
        Story(
            output=[(STDERR, b"no space left\n")],
            state=STATES.EXECUTION_STATE_FAILED,
            exit_code=137,
            message="exit 137",
        ),
        retry_max=2,
    )
    cli("job", "run", "bad", "--wait")
    done = cli("run", "get", "@last")
    assert done.out.startswith("Failed on local: exit 137.\n")
    assert "  no space left" in done.out
    assert "kronforce run logs" in done.err
    assert cli("run", "get", "bad").out == done.out
    assert cli("last").out == done.out


def test_logs_are_the_bytes_and_a_job_stands_for_its_newest_run(cli, fake):
    fake.add_job("hello", Story(output=[(STDOUT, b"\xff one"), (STDERR, b"two")]))
    cli("job", "run", "hello", "--wait")
    done = cli("run", "logs", "hello")
    assert done.raw == b"\xff one"
    assert done.err == "two"
    (run_id,) = fake.runs
    assert cli("run", "logs", run_id[-6:], "--stderr").raw == b""
    assert cli("run", "logs", "nope").code == 3


def test_cancelling_what_has_ended_is_a_conflict(cli, fake):
    fake.add_job("hello")
    cli("job", "run", "hello", "--wait")
    done = cli("run", "cancel", "@last")
    assert done.code == 6
    assert "the run has ended" in done.err


def test_watching_a_run_prints_its_states(cli, fake):
    fake.add_job("hello")
    cli("job", "run", "hello", "--wait")
    done = cli("run", "watch", "@last")
    assert done.code == 0
    assert [line.split("\t")[2] for line in done.out.splitlines()] == ["running", "succeeded"]


def test_agents_are_listed_drained_and_given_tokens(cli, fake):
    fake.add_agent("web-1", tags=["gpu"])
    assert cli("agent", "list", "-o", "name").out == "web-1\n"
    assert "draining" in cli("agent", "drain", "web-1").out
    assert "online" in cli("agent", "drain", "web-1", "--off").out
    token = cli("agent", "token", "--tag", "gpu")
    assert token.out == "kfj_1.secret\n"
    assert "kronforce agent run" in token.err
    done = cli("agent", "get", "web-2")
    assert done.code == 3
    assert "web-1" in done.err
    assert "state" in cli("agent", "get", "web-1").out
    assert cli("agent", "delete", "web-1").code == 1
    assert cli("agent", "delete", "web-1", "--yes").code == 0


def test_keys_are_made_listed_and_revoked(cli, fake):
    made = cli("key", "create", "ci", "--role", "operator", "--group", "Deploy")
    assert made.out.startswith("kf_")
    assert "ci\toperator" in cli("key", "list").out
    assert cli("key", "revoke", "ci").code == 1
    assert cli("key", "revoke", "ci", "--yes").out == "ci revoked\n"
    assert cli("key", "create", "x", "--role", "god").code == 2


def test_events_and_status(cli, fake):
    fake.add_event("job.created", "hello was made")
    assert "job.created\thello was made" in cli("event", "tail").out
    assert "slots" in cli("status").out
    assert json.loads(cli("status", "-o", "json").out)["store"] == "sqlite"


def test_completion_offers_verbs_formats_and_live_names(cli, fake, portal):
    fake.add_job("backup")
    assert cli("completion", "words", "--", "jo").out == "job\n"
    assert "run\n" in cli("completion", "words", "--", "job", "r").out
    assert cli("completion", "words", "--", "job", "run", "").out == "backup\n"
    assert "jsonl" in cli("completion", "words", "--", "-o", "").out
    portal.call(fake.stop())
    assert cli("completion", "words", "--", "job", "run", "").out == ""
    for shell in ("bash", "zsh", "fish"):
        assert "kronforce completion words" in cli("completion", shell).out


def test_colours_are_for_terminals_alone(cli, fake, monkeypatch):
    fake.add_job("hello")
    assert "\x1b" not in cli("job", "list").out
    monkeypatch.setenv("TERM", "xterm")
    cli("job", "run", "hello", "--wait")
    assert "\x1b[" in cli("run", "list", terminal=True).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in cli("run", "list", terminal=True).out


def test_a_key_for_an_ai_client_is_a_viewers_unless_it_says_otherwise(cli):
    made = cli("key", "create", "assistant", "--surface", "mcp")
    assert "viewer, MCP alone" in made.err
    assert (
        "operator, MCP alone"
        in cli("key", "create", "deployer", "--surface", "mcp", "--role", "operator").err
    )
    assert "viewer, MCP alone" in cli("key", "list").out


def test_any_other_key_needs_a_role(cli):
    refused = cli("key", "create", "ci")
    assert refused.code == 2
    assert "--role" in refused.err
