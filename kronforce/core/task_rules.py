"""What a task of each type must satisfy before it is stored; one function a type.

Fields are named as people write them (`task.command`). A type without a
function here is stored unchecked: its agent refuses what it cannot do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from kronforce.core.custom_tasks import custom_problems
from kronforce.core.http_rules import http_problems
from kronforce.core.templates import find_placeholders, template_problems
from kronforce.v1.job_pb2 import NoopTask, ShellTask, Task

Problem = tuple[str, str]

COMMAND_BYTES_MAX = 128 << 10
ENV_MAX = 256
ENV_BYTES_MAX = 128 << 10
PATH_BYTES_MAX = 4096  # PATH_MAX of Linux
NOOP_MESSAGE_BYTES_MAX = 4 << 10
NOOP_SLEEP_MS_MAX = 86_400_000
NOOP_OUTPUT_BYTES_MAX = 1 << 30
EXIT_CODE_MAX = 255

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Reserved for what the agent tells a task of its own execution.
_OWN_PREFIX = "KRONFORCE_"


def task_problems(task: Task) -> Iterator[Problem]:
    """Everything that is wrong with a task, by field."""
    kind = task.WhichOneof("kind")
    if kind is None:
        known = " or ".join(_CHECKS)
        yield "task", f"is required; say what to do, for example type: shell ({known})"
    elif kind in _CHECKS:
        yield from _CHECKS[kind](getattr(task, kind))


def _shell_problems(task: ShellTask) -> Iterator[Problem]:
    yield from _text("task.command", task.command, COMMAND_BYTES_MAX)
    if not task.command.strip():
        yield "task.command", "is required: the command line for sh -c"
    if task.working_dir:
        yield from _text("task.working_dir", task.working_dir, PATH_BYTES_MAX)
        if not _may_be_absolute(task.working_dir):
            yield (
                "task.working_dir",
                f"{task.working_dir!r} is not absolute; begin with / (the agent's host has it)",
            )
    yield from _env_problems(task)
    yield from template_problems(task)


def _may_be_absolute(path: str) -> bool:
    """A path that begins with a placeholder is judged by the agent, once it has its value."""
    first = next(find_placeholders(path), None)
    return path.startswith("/") or (first is not None and first.start == 0)


def _env_problems(task: ShellTask) -> Iterator[Problem]:
    if len(task.env) > ENV_MAX:
        yield "task.env", f"has {len(task.env)} variables; at most {ENV_MAX}"
    size = sum(len(name.encode()) + len(value.encode()) for name, value in task.env.items())
    if size > ENV_BYTES_MAX:
        yield "task.env", f"is {size:,} bytes; at most {ENV_BYTES_MAX:,}, names and values together"
    for name, value in sorted(task.env.items()):
        if not _ENV_NAME.fullmatch(name):
            yield (
                f"task.env.{name}",
                "is no name for a variable; use letters, digits and _, not a digit first",
            )
        elif name.startswith(_OWN_PREFIX):
            yield f"task.env.{name}", f"{_OWN_PREFIX}* is set by the agent; choose another name"
        if "\0" in value:
            yield f"task.env.{name}", "must not contain a NUL character"


def _noop_problems(task: NoopTask) -> Iterator[Problem]:
    size = len(task.message.encode())
    if size > NOOP_MESSAGE_BYTES_MAX:
        yield "task.message", f"is {size:,} bytes; at most {NOOP_MESSAGE_BYTES_MAX:,}"
    yield from number("task.sleep_ms", task.sleep_ms, 0, NOOP_SLEEP_MS_MAX)
    yield from number("task.output_bytes", task.output_bytes, 0, NOOP_OUTPUT_BYTES_MAX)
    yield from number("task.exit_code", task.exit_code, 0, EXIT_CODE_MAX)


def number(field: str, value: float, low: float, high: float) -> Iterator[Problem]:
    """A number and its bounds, both included; NaN is outside of any."""
    if not low <= value <= high:
        yield field, f"is {value:,}; must be from {low:,} to {high:,}"


def _text(field: str, text: str, longest: int) -> Iterator[Problem]:
    size = len(text.encode())
    if size > longest:
        yield field, f"is {size:,} bytes; at most {longest:,}"
    if "\0" in text:
        yield field, "must not contain a NUL character"


_CHECKS: dict[str, Callable[[Any], Iterator[Problem]]] = {
    "shell": _shell_problems,
    "noop": _noop_problems,
    "http": http_problems,
    "custom": custom_problems,
}
