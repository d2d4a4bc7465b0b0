"""`shell`: a command line under `sh -c`, held by the launcher.

The environment is built whole from an allow list: a task never sees what the agent was started
with, least of all its own KRONFORCE_* (address, tokens).
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from functools import lru_cache

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent.launcher import protocol
from kronforce_agent.tasks.folders import default_folder
from kronforce_agent.tasks.kinds import CannotStart, Host

ALLOWED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USERS = 256
"""Users whose environment is remembered."""
MIN_TIMEOUT_SECS = 0.001
"""A budget that is used up still is a limit; 0 would be none to the launcher."""


def build(execution_id: str, fence: int, assignment: pb.Assignment, host: Host) -> protocol.Spawn:
    """The launcher's command. Raises CannotStart where this host cannot have it."""
    shell = assignment.task.shell
    user = _user(assignment.run_as)
    if shell.working_dir and not shell.working_dir.startswith("/"):
        raise CannotStart(
            f"working_dir {shell.working_dir!r} is not absolute on this host; check the value of "
            "the variable or parameter that it begins with"
        )
    return protocol.Spawn(
        execution_id=execution_id,
        fence=fence,
        command=shell.command,
        cwd=shell.working_dir or default_folder(host.work_folder, user),
        env={
            **_inherited(assignment.run_as),
            **shell.env,
            **_values(assignment),
            **_identity(execution_id, fence, assignment, host),
        },
        run_as=assignment.run_as,
        timeout_secs=timeout_secs(assignment),
        kill_grace_secs=_seconds(assignment, "kill_grace", 10.0),
        leave_background=shell.leave_background,
    )


def timeout_secs(assignment: pb.Assignment) -> float:
    """What remains of the attempt's time; 0: no limit."""
    if not assignment.HasField("timeout"):
        return 0.0
    return max(MIN_TIMEOUT_SECS, _seconds(assignment, "timeout", 0.0))


def environment(own: Mapping[str, str], user: pwd.struct_passwd | None = None) -> dict[str, str]:
    """The allow-listed part of the agent's environment, as `user` would see it."""
    kept = {name: value for name, value in own.items() if name in ALLOWED or name.startswith("LC_")}
    kept.setdefault("PATH", DEFAULT_PATH)
    if user is not None:
        kept |= {
            "HOME": user.pw_dir,
            "USER": user.pw_name,
            "LOGNAME": user.pw_name,
            "SHELL": user.pw_shell or "/bin/sh",
        }
    return kept


@lru_cache(maxsize=USERS)
def _inherited(run_as: str) -> dict[str, str]:
    """The same for this process and a user, worked out once: it does not change while it runs."""
    return environment(os.environ, _user(run_as))


def _values(assignment: pb.Assignment) -> dict[str, str]:
    """What the command refers to; beside the environment there is no place where they show."""
    return {each.name: each.value.decode(errors="surrogateescape") for each in assignment.values}


def _identity(
    execution_id: str, fence: int, assignment: pb.Assignment, host: Host
) -> dict[str, str]:
    return {
        "KRONFORCE_EXECUTION_ID": execution_id,
        "KRONFORCE_RUN_ID": assignment.run_id,
        "KRONFORCE_JOB_ID": assignment.job_id,
        "KRONFORCE_JOB_NAME": assignment.job_name,
        "KRONFORCE_ATTEMPT": str(assignment.attempt_number),
        "KRONFORCE_FENCE": str(fence),
        "KRONFORCE_AGENT_NAME": host.agent_name,
    }


def _user(name: str) -> pwd.struct_passwd | None:
    if not name:
        return None
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise CannotStart(
            f"run_as names user {name!r}, which this host does not have; create the user, or "
            "choose another with run_as or another agent with target"
        ) from None


def _seconds(assignment: pb.Assignment, field: str, default: float) -> float:
    if not assignment.HasField(field):  # type: ignore[arg-type]  # one of its Duration fields
        return default
    duration = getattr(assignment, field)
    return float(duration.seconds + duration.nanos / 1e9)
