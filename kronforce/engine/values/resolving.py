"""What an attempt's placeholders stand for, settled when it is assigned.

From memory, synchronously, for jobs that name something; nothing of it is ever
stored. A run acts with its own group, its job's when it was made, whoever fired
it: that group's members see what comes of it, wherever the job was moved since.
What has no value stays in the task as it stands and is told of; a job with
`strict_variables` is not sent at all. Names are told, values never.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.struct_pb2 import Struct

from kronforce.clock import Clock
from kronforce.core.access import may_use
from kronforce.core.params_text import texts_of
from kronforce.core.templates import TaskTemplate
from kronforce.core.variable_rules import MASKED_FROM
from kronforce.engine.live import LiveExecution, LiveRun
from kronforce.engine.snapshots import JobSnapshot
from kronforce.engine.values.cache import VariableCache
from kronforce.security.envelope import CannotOpen
from kronforce.store.variables import VariableRow
from kronforce.v1.job_pb2 import Task

log = logging.getLogger(__name__)

# Bytes of a task with its values in: a frame to an agent stays below 4 MiB.
FILLED_MAX = 3 << 20

# Names that a message lists; the rest is counted.
_LISTED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """A task for one attempt. With `refused` it is not to be sent, and why."""

    task: Task = field(repr=False)
    values: list[tuple[str, bytes]] = field(repr=False)
    secrets: list[bytes] = field(repr=False)
    note: str
    refused: str = ""
    too_large: bool = False


class Resolving:
    """Fills tasks. Belongs to the event loop."""

    def __init__(self, *, cache: VariableCache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock

    def resolve(self, live: LiveExecution) -> Resolved:
        """The task of an attempt whose job names something, with everything put in."""
        job, template = live.run.job, _template_of(live.run.job)
        params = Struct.FromString(live.run.params or b"")
        values = _params(job, template, params)
        secrets, problems = self._variables(live.run.group, job, template, values)
        problems += [
            f"{{{{params.{name}}}}} (the run was given none)"
            for name in sorted(template.params)
            if f"params.{name}" not in values
        ]
        filled = template.fill(values)
        note = _note(problems)
        size = filled.task.ByteSize() + sum(len(value) for _, value in filled.values)
        refused = note if problems and job.job.strict_variables else ""
        if size > FILLED_MAX:
            refused = f"the task is {size:,} bytes with its values in; at most {FILLED_MAX:,}"
        if note:
            log.warning("an attempt goes with placeholders %s", note,
                        extra={"action": "unresolved", "execution": live.id_text,
                               "job": job.name})  # fmt: skip
        return Resolved(
            task=filled.task, values=filled.values, secrets=secrets, note=note, refused=refused,
            too_large=size > FILLED_MAX,
        )  # fmt: skip

    def secrets_of(self, run: LiveRun) -> list[bytes]:
        """What must not be seen in the output of this run, as things stand now."""
        return self._variables(run.group, run.job, _template_of(run.job), {})[0]

    def unresolved(self, job: JobSnapshot) -> list[str]:
        """What of the variables that a job names has no value for it now, in words."""
        now, found = self._clock.now_us(), []
        then = "its attempts fail" if job.job.strict_variables else "it stays as it stands"
        for name in sorted(_template_of(job).names):
            row = self._cache.get(name)
            if problem := _problem(job.group, job, row, now):
                found.append(f"{{{{{name}}}}} has no value, so {then}: {problem}")
        return found

    def _variables(
        self, group: str, job: JobSnapshot, template: TaskTemplate, values: dict[str, str]
    ) -> tuple[list[bytes], list[str]]:
        """Add what the job's variables stand for; the secrets of them, and what has no value.

        `group` is the run's, whose members see it: its job may be in another one by now.
        """
        now, secrets, problems = self._clock.now_us(), set(), []
        for name in sorted(template.names):
            row = self._cache.get(name)
            problem = _problem(group, job, row, now)
            if row is None or problem:
                problems.append(f"{{{{{name}}}}} ({problem})")
                continue
            try:
                text = self._cache.text_of(row)
            except CannotOpen as error:
                log.exception("a secret does not open", extra={"action": "secret_broken",
                                                               "variable": name})  # fmt: skip
                problems.append(f"{{{{{name}}}}} (its stored value does not open: {error})")
                continue
            values[name] = text.decode()
            if row.secret and len(text) >= MASKED_FROM:
                secrets.add(text)
        return sorted(secrets), problems


def _template_of(job: JobSnapshot) -> TaskTemplate:
    assert job.template is not None, "only asked where there is something to put in"
    return job.template


def _params(job: JobSnapshot, template: TaskTemplate, params: Struct) -> dict[str, str]:
    if not template.params:
        return {}
    declared = job.parameters.names if job.parameters is not None else frozenset()
    texts = texts_of(params, template.params, declared)
    # No environment takes a NUL: such a value is none.
    return {name: text for name, text in texts.items() if "\0" not in text}


def _problem(group: str, job: JobSnapshot, row: VariableRow | None, now: int) -> str:
    """Why a variable has no value for a job; one that it may not use looks like none."""
    if row is None or not may_use(
        row.allowed_groups, group, guarded=row.secret, by_admin=job.trusted
    ):
        return f"no variable that jobs of group {group!r} may use"
    if row.expires_at is not None and row.expires_at <= now:
        return "it has expired"
    return ""


def _note(problems: Iterable[str]) -> str:
    problems = list(problems)
    if not problems:
        return ""
    more = f" and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    return f"without a value: {', '.join(problems[:_LISTED])}{more}"
