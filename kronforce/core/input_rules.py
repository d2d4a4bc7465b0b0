"""What a job says of its runs' input: parameters, and whether whatever names them can be filled."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.struct_pb2 import Struct

from kronforce.core.parameters import parameter_problems
from kronforce.core.params_text import KEY_MAX, KeyTemplate, key_problems
from kronforce.core.task_rules import Problem
from kronforce.core.templates import compile_task
from kronforce.errors import InvalidArgument
from kronforce.v1.job_pb2 import Job


def input_problems(job: Job) -> Iterator[Problem]:
    """Everything that is wrong with it, by field."""
    scheduled = job.schedule.WhichOneof("kind") not in (None, "on_demand")
    wrong = list(parameter_problems(job.parameters, scheduled=scheduled))
    yield from wrong
    yield from key_problems(job.concurrency_key)
    try:
        named = compile_task(job.task).params
    except InvalidArgument:
        # Said by `template_problems`.
        return
    if job.parameters and not wrong:
        yield from _undeclared("task", job, named)
        yield from _undeclared("concurrency_key", job, KeyTemplate(job.concurrency_key).params)
        yield from _long_key(job)


def _undeclared(field: str, job: Job, named: frozenset[str]) -> Iterator[Problem]:
    known = {parameter.name for parameter in job.parameters}
    for name in sorted(named - known):
        yield (
            field,
            "names {{params." + name + "}}, which is not among parameters: "
            f"{', '.join(sorted(known))}",
        )


def _long_key(job: Job) -> Iterator[Problem]:
    defaults = Struct(fields={p.name: p.default for p in job.parameters if p.HasField("default")})
    size = len(KeyTemplate(job.concurrency_key).fill(defaults))
    if size > KEY_MAX:
        yield (
            "concurrency_key",
            f"is {size} characters long with the defaults in; at most {KEY_MAX}",
        )
