import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import job_pb2
from kronforce_agent.tasks import noop, shell
from kronforce_agent.tasks.folders import default_folder
from kronforce_agent.tasks.kinds import CannotStart, Host

HOST = Host(agent_name="web-1", work_folder=Path("/work-here"))


def assignment(**fields: object) -> pb.Assignment:
    task = job_pb2.Task(shell=job_pb2.ShellTask(command="true"))
    return pb.Assignment(run_id="r", job_id="j", job_name="n", task=task, **fields)  # type: ignore[arg-type]


def test_nothing_of_the_agents_own_environment_but_the_allowed_reaches_a_task() -> None:
    own = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "KRONFORCE_JOIN_TOKEN": "secret",
        "AWS_SECRET": "secret",
        "LD_PRELOAD": "x",
    }
    assert shell.environment(own) == {"PATH": "/bin", "LC_ALL": "C"}


def test_there_is_always_a_path() -> None:
    assert shell.environment({})["PATH"] == shell.DEFAULT_PATH


def test_another_users_task_has_that_users_home() -> None:
    user = pwd.struct_passwd(("bob", "x", 1, 1, "", "/home/bob", "/bin/zsh"))
    found = shell.environment({"HOME": "/root", "USER": "root", "PATH": "/bin"}, user)
    assert (found["HOME"], found["USER"], found["LOGNAME"]) == ("/home/bob", "bob", "bob")
    assert found["SHELL"] == "/bin/zsh"


def test_a_jobs_variables_cannot_forge_the_tasks_identity() -> None:
    given = assignment()
    given.task.shell.env["KRONFORCE_FENCE"] = "999"
    spawn = shell.build("e", 7, given, HOST)
    assert spawn.env is not None
    assert spawn.env["KRONFORCE_FENCE"] == "7"
    assert spawn.env["KRONFORCE_AGENT_NAME"] == "web-1"


def test_limits_come_from_the_assignment() -> None:
    given = assignment()
    given.timeout.FromMilliseconds(1500)
    given.kill_grace.FromSeconds(3)
    spawn = shell.build("e", 7, given, HOST)
    assert (spawn.timeout_secs, spawn.kill_grace_secs) == (1.5, 3.0)
    assert spawn.cwd == "/work-here"


def test_a_budget_that_is_used_up_is_not_no_limit() -> None:
    given = assignment()
    given.timeout.FromSeconds(0)
    assert shell.timeout_secs(given) > 0
    assert shell.timeout_secs(assignment()) == 0


def test_an_unknown_user_cannot_start() -> None:
    with pytest.raises(CannotStart, match="no-such-user"):
        shell.build("e", 7, assignment(run_as="no-such-user"), HOST)


NOBODY = pwd.struct_passwd(("nobody", "x", 65534, 65534, "", "/nonexistent", "/bin/sh"))
ROOT = pwd.struct_passwd(("root", "x", 0, 0, "", "/root", "/bin/sh"))


@pytest.fixture
def work() -> Iterator[Path]:
    """A work folder below one that, unlike pytest's, others may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        made = Path(folder) / "work"
        made.mkdir(mode=0o711)
        yield made


def test_another_user_starts_in_the_work_folder_where_it_is_open(work: Path) -> None:
    assert default_folder(work, NOBODY) == str(work)


@pytest.mark.parametrize("closed", ["work", "above"])
def test_another_user_starts_at_the_root_where_the_work_folder_is_closed(
    work: Path, closed: str
) -> None:
    (work if closed == "work" else work.parent).chmod(0o700)
    assert default_folder(work, NOBODY) == "/"
    assert default_folder(work, ROOT) == default_folder(work, None) == str(work)


def test_another_user_starts_at_the_root_where_the_work_folder_is_gone(work: Path) -> None:
    assert default_folder(work / "gone", NOBODY) == "/"


@pytest.mark.parametrize(
    ("task", "instant"),
    [
        (job_pb2.NoopTask(), (0, b"ok\n")),
        (job_pb2.NoopTask(message="", exit_code=4), (4, b"\n")),
        (job_pb2.NoopTask(sleep_ms=1), None),
        (job_pb2.NoopTask(output_bytes=1), None),
    ],
)
def test_only_a_noop_without_duration_is_instant(
    task: job_pb2.NoopTask, instant: tuple[int, bytes] | None
) -> None:
    assert noop.instant(job_pb2.Task(noop=task)) == instant
