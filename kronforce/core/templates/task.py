"""A task with placeholders: looked through once per job version, filled once per attempt.

The `command` of a shell task gets references (`quoting.py`), every other text of any task the value
itself. A given message is never changed; what `fill` gives may be shared and must not be either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from kronforce.core.templates.fields import FieldTemplate, find_templates
from kronforce.core.templates.placeholder import PARAMS
from kronforce.core.templates.quoting import CommandTemplate
from kronforce.core.templates.shell import Problem, read_command
from kronforce.errors import InvalidArgument
from kronforce.v1.job_pb2 import ShellTask, Task

_COMMAND = ("shell", "command")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """A task for one attempt."""

    task: Task = field(repr=False)
    """Shared with other attempts; not to be changed."""
    values: list[tuple[str, bytes]] = field(repr=False)
    """Environment variables that its command refers to."""
    unresolved: list[str]
    """Names without a value, sorted; their placeholders stand in the task as they were."""


class TaskTemplate:
    """`names` are those of variables, `params` those of parameters (without `params.`)."""

    def __init__(self, task: Task, command: CommandTemplate | None, fields: list[FieldTemplate]):
        self._task = task
        self._command = command
        self._fields = fields
        self._references = command.variables if command else {}
        self.keys = frozenset(self._references).union(*(each.text.names for each in fields))
        """What `fill` looks up: names of variables, and `params.NAME`."""
        self.names = frozenset(key for key in self.keys if not key.startswith(PARAMS))
        self.params = frozenset(
            key.removeprefix(PARAMS) for key in self.keys if key.startswith(PARAMS)
        )
        self.plain = not self.keys
        self._whole = self._with_command(self._references)

    def fill(self, values: Mapping[str, str]) -> Filled:
        """Put the values in. Those that nobody asked for are ignored."""
        missing = self.keys - values.keys()
        task = self._with_command(values) if missing else self._whole
        if self._fields:
            task = _copy(task)
            for each in self._fields:
                each.fill(task, values)
        given = [
            (variable, values[name].encode())
            for name, variable in self._references.items()
            if name in values
        ]
        return Filled(task=task, values=given, unresolved=sorted(missing))

    def _with_command(self, resolved: Collection[str]) -> Task:
        if self._command is None:
            return self._task
        task = _copy(self._task)
        task.shell.command = self._command.render(resolved)
        return task


def compile_task(task: Task) -> TaskTemplate:
    """Find every placeholder. Raises InvalidArgument where a command cannot have one safely."""
    command, problems = _command_of(task.shell)
    if problems:
        raise InvalidArgument.of(*(("task.command", problem) for problem in problems))
    fields = [each for each in find_templates(task) if each.steps != _COMMAND]
    return TaskTemplate(task, command, fields)


def template_problems(shell: ShellTask) -> Iterator[tuple[str, str]]:
    """What `compile_task` would refuse, by field."""
    yield from (("task.command", problem) for problem in _command_of(shell)[1])


def _command_of(shell: ShellTask) -> tuple[CommandTemplate | None, list[Problem]]:
    if "{{" not in shell.command:
        return None, []
    slots, problems = read_command(shell.command)
    if not slots:
        return None, problems
    taken = "\n".join((shell.command, *shell.env, *shell.env.values()))
    return CommandTemplate(shell.command, slots, taken), problems


def _copy(task: Task) -> Task:
    copy = Task()
    copy.CopyFrom(task)
    return copy
