"""Jobs as text: YAML files, JSON documents, and what a run is given as its input."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from kronforce.cli.failure import CommandError
from kronforce.cli.job_files import read_jobs
from kronforce.core.custom_tasks import custom_problems
from kronforce.core.job_rules import validate_job
from kronforce.core.job_settings import effective
from kronforce.core.parameters import Parameters, parameter_problems
from kronforce.core.params_rules import params_problems
from kronforce.core.params_text import text_of
from kronforce.errors import InvalidArgument
from kronforce.v1.job_pb2 import CustomTask, Job, Parameter
from kronforce_client import dialect
from kronforce_client.dialect import DialectError
from tests.fuzz.growing import grown
from tests.fuzz.inputs import blown_up, damaged, words
from tests.fuzz.target import Check, Target, plain

# Read in pure Python, some 100 kB a second.
YAML_LONGEST = 4_000
_NOW = datetime(2026, 11, 21, tzinfo=UTC)

_YAML = [
    b"""name: etl
task: {type: shell, command: 'echo "{{params.day}}"', env: {A: b}}
schedule: {type: cron, value: "0 0 2 * * *"}
timezone: Europe/Berlin
parameters:
  - {name: day, param_type: text, default: "1"}
retry_on: [failed, timed_out]
labels: {team: web}
---
name: other
task: {type: noop}
target: {type: any}
""",
    b"a: &x [1, 2]\nb: *x\nc: !!set {1}\nd: !!binary YQ==\n? [k]\n: v\n",
    b"%YAML 1.2\n--- |\n  text\n...\n",
    b'{"name": "json", "task": {"type": "http", "url": "http://x/", "method": "get"}}',
]
# Aliases of aliases: small files that mean endless documents.
_BOMBS = [
    b"a0: &a0 x\n" + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9))
                              for n in range(1, 12)),
    b"&a [*a]", b"&a {k: *a}", b"<<: &a {<<: *a}",
]  # fmt: skip
_PIECES = [b"- ", b"[", b"{", b"? ", b"a: ", b"&a ", b"*a ", b"!!x ", b"'", b'"', b"\n ", b"|\n",
           b"#", b"---\n", b"\t", b"- - ", b"a: b\n", b"\\", b"%"]  # fmt: skip


@asynccontextmanager
async def _yaml(folder: Path) -> AsyncIterator[Check]:
    def check(data: bytes) -> None:
        path = folder / "job.yaml"
        path.write_bytes(data)
        try:
            found = read_jobs([str(path)])
        except CommandError:
            return
        for each in found:
            validate_job(each.job, _NOW)

    yield check


# JSON, as an HTTP body or a file is.

_JSON = [
    b"""{"name": "etl", "task": {"type": "shell", "command": "true", "env": {"A": "b"}},
    "tags": ["a"], "schedule": {"type": "cron", "value": "0 0 2 * * *"}, "retry_max": 3,
    "starts_at": "2026-01-01T00:00:00Z", "retry_backoff": 1.5, "labels": {"a": "b"},
    "input_schema": {"type": "object"}}""",
    b"""{"name": "w", "task": {"type": "custom", "agent_task_type": "x",
    "data": {"a": [1, {"b": null}]}}, "target": {"type": "agent", "agent_id": "a"},
    "concurrency_key": "{{params.a}}"}""",
    b"""{"name": "h", "task": {"type": "http", "method": "post", "url": "http://[::1]:80/?a#b",
    "headers": {"A": "b"}, "body": "x", "expect_status": 200}, "parameters":
    [{"name": "a", "param_type": "select", "options": ["1"], "default": 1}]}""",
]
_JSON_PIECES = [b"[", b"{", b'{"a":', b'"a",', b"9", b"-", b"1e9,", b"\\u0000", b'"', b"null,"]


def _json(data: bytes) -> None:
    try:
        job = dialect.parse(Job, dialect.loads(data))
    except DialectError as error:
        assert error.problems  # noqa: PT017
        return
    if not validate_job(job, _NOW):
        effective(job)
    again = dialect.parse(Job, dialect.loads(dialect.dumps(dialect.render(job))))
    assert again == job


# Messages that no document could say: what a stub sends. A seed, so that they come quickly.

seeds = st.integers(0, 2**64 - 1)


def _messages(number: int) -> None:
    chance = random.Random(number)
    job = grown(chance, Job)
    wrong = validate_job(job, _NOW)
    if not wrong:
        effective(job)
    for field, description in wrong:
        assert field
        assert description


def _input(number: int) -> None:
    chance = random.Random(number)
    declared = [grown(chance, Parameter) for _ in range(chance.randrange(4))]
    given = grown(chance, CustomTask).data
    for place, said in params_problems(given):
        assert place
        assert said
    list(custom_problems(CustomTask(agent_task_type="x", data=given)))
    if list(parameter_problems(declared, scheduled=bool(chance.randrange(2)))):
        return
    try:
        filled = Parameters(declared).fill(given)
    except InvalidArgument as error:
        assert error.violations  # noqa: PT017
        return
    for value in filled.fields.values():
        text_of(value)


# Times and numbers inside a document.

_SCALARS = ["2026-01-01T00:00:00Z", "+01:00", ".123456789", "1.5s", "9" * 30, "e", "-", "T", "Z",
            "0000-00-00", "true", "YQ==", "_", "1e5", ":60", "inf", "nan", " "]  # fmt: skip
_FIELDS = ["starts_at", "retry_backoff", "max_concurrent", "status", "tags", "labels", "schedule"]


def _scalar(value: tuple[str, str]) -> None:
    field, text = value
    wrapped: Any = {"tags": [text], "labels": {text: text}, "schedule": {"type": "one_shot",
                    "value": text}}.get(field, text)  # fmt: skip
    with suppress(DialectError):
        dialect.parse(Job, {"name": "a", field: wrapped})


TARGETS = [
    Target(
        name="yaml",
        inputs=damaged(_YAML) | st.sampled_from(_BOMBS) | blown_up(_PIECES, YAML_LONGEST),
        opened=_yaml,
        batch=500,
        short=100,
    ),
    plain("json", damaged(_JSON) | blown_up(_JSON_PIECES), _json),
    plain("job_messages", seeds, _messages),
    plain("params", seeds, _input),
    plain("scalars", st.tuples(st.sampled_from(_FIELDS), words(_SCALARS)), _scalar),
]
