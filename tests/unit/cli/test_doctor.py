"""`kronforce doctor`: what is shown, what programs get, and the number that it ends with."""

import json
import os
import socket
from contextlib import closing

import pytest

from kronforce import data_dir
from tests.fakes.api_server import KEY

# Whatever this machine is like, these are as the test has made them.
OF_THE_MACHINE = {"versions", "open files", "clock", "cgroup", "file system", "disk", "fsync"}


@pytest.fixture
def data(home, monkeypatch):
    folder = home / "data"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("KRONFORCE_GRPC_BIND", "127.0.0.1:0")
    return folder


@pytest.fixture
def controller(data, fake):
    """This process as the controller of the folder, at the fake's address."""
    with data_dir.held(data):
        said = {"address": fake.address, "pid": os.getpid(), "tls": False}
        (data / data_dir.ENDPOINT).write_text(json.dumps(said))
        (data / "admin.key").write_text(KEY)
        (data / "admin.key").chmod(0o600)
        yield fake


def rows(done) -> dict[str, dict[str, str]]:
    return {each["check"]: each for each in json.loads(done.out)["data"]}


def test_a_host_before_its_first_start_is_not_wrong(kronforce, data):
    done = kronforce("doctor", "-o", "json")
    found = rows(done)
    assert done.code == 0, done.out
    assert found["database"]["verdict"] == "warning"
    assert found["controller"]["message"] == "none runs on this data folder"
    assert json.loads(done.out)["wrong"] == 0
    assert list(data.iterdir()) == []


def test_whatever_is_wrong_is_marked_and_is_the_exit_code(kronforce, data, monkeypatch):
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("KRONFORCE_GRPC_BIND", f"127.0.0.1:{other.getsockname()[1]}")
        (data / "secrets.key").touch(mode=0o644)
        done = kronforce("doctor", terminal=True)
    assert done.code == 1
    assert "\x1b[31m✗\x1b[0m gRPC address" in done.out
    assert "→ chmod 600" in done.out


def test_a_terminal_without_colour_gets_the_same_words(kronforce, data, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    done = kronforce("doctor", terminal=True)
    assert "\x1b" not in done.out
    assert "✓ controller       none runs on this data folder" in done.out
    assert max(map(len, done.out.splitlines())) <= 80 + len(str(data))
    assert " findings: " in done.out.splitlines()[-1]


def test_a_pipe_gets_a_line_for_each_finding(kronforce, data):
    lines = [line.split("\t") for line in kronforce("doctor").out.splitlines()]
    assert {len(line) for line in lines} == {4}
    assert {line[0] for line in lines} <= {"fine", "warning", "wrong"}


@pytest.mark.parametrize("form", ["jsonl", "yaml", "name"])
def test_other_forms_have_every_finding(kronforce, data, form):
    out = kronforce("doctor", "-o", form).out
    assert all(check in out for check in OF_THE_MACHINE)


def test_a_running_controller_is_asked_about_its_agents(kronforce, controller):
    controller.add_agent("web-1", clock_skew_ms=4_000)
    done = kronforce("doctor", "-o", "json")
    found = rows(done)
    assert found["controller"]["verdict"] == "fine"
    assert found["agents' clocks"]["message"] == "web-1 is 4.0 s ahead of the controller"
    assert "gRPC address" not in found


def test_a_controller_that_knows_no_such_key_is_a_warning(kronforce, controller, data):
    (data / "admin.key").write_text("kf_" + "x" * 43)
    found = rows(kronforce("doctor", "-o", "json"))
    assert found["agents"]["verdict"] == "warning"
    assert "were not asked" in found["agents"]["message"]
    # The key that the line names goes before the folder's.
    found = rows(kronforce("doctor", "-o", "json", "--key", KEY))
    assert found["server"]["check"] == "server"


def test_a_controller_that_does_not_answer_is_wrong(kronforce, data):
    with closing(socket.socket()) as nobody, data_dir.held(data):
        nobody.bind(("127.0.0.1", 0))
        said = {"address": f"127.0.0.1:{nobody.getsockname()[1]}", "pid": os.getpid()}
        (data / data_dir.ENDPOINT).write_text(json.dumps(said))
        done = kronforce("doctor", "-o", "json")
    assert done.code == 1
    assert rows(done)["server"]["verdict"] == "wrong"
