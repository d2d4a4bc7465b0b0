"""Definitions of custom tasks, and jobs held against them."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kronforce.core.custom_tasks import (
    MASK,
    custom_problems,
    data_problems,
    definition_problems,
    keep_masked,
    kind_of,
    masked,
    password_fields,
)
from kronforce.security.attempt_tokens import AttemptTokens
from kronforce.v1 import agent_pb2 as pb
from kronforce.v1.job_pb2 import CustomTask, Job, NoopTask, Task


def task(**data):
    made = CustomTask(agent_task_type="python")
    made.data.update(data)
    return made


def field(name, kind=pb.TASK_FIELD_TYPE_TEXT, *, required=False, options=()):
    made = pb.TaskField(name=name, field_type=kind, required=required)
    for each in options:
        made.options.add(value=each)
    return made


def definition(*fields):
    return pb.TaskTypeDefinition(name="python", fields=fields)


def test_a_custom_type_is_never_taken_for_one_of_ours():
    assert kind_of(Job(task=Task(custom=CustomTask(agent_task_type="shell")))) == "custom:shell"
    assert kind_of(Job(task=Task(noop=NoopTask()))) == "noop"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({}, "is required: n"),
        ({"n": None}, "is required: n"),
        ({"n": ""}, "is required: n"),
        ({"n": "twelve"}, "is no number"),
        ({"n": "nan"}, "is no number"),
        ({"n": 12}, ""),
        ({"n": "12.5"}, ""),
        ({"n": "{{params.n}}"}, ""),
    ],
)
def test_numbers(value, problem):
    wanted = definition(field("n", pb.TASK_FIELD_TYPE_NUMBER, required=True))
    found = data_problems(task(**value), wanted)
    assert found == ([("task.data.n", problem)] if problem else [])


def test_a_select_takes_its_choices_alone():
    wanted = definition(field("size", pb.TASK_FIELD_TYPE_SELECT, options=("s", "7")))
    for good in ("s", 7, "{{SIZE}}", ""):
        assert data_problems(task(size=good), wanted) == []
    ((place, text),) = data_problems(task(size="xl"), wanted)
    assert (place, text) == ("task.data.size", "is none of its choices: s, 7")


def test_more_than_is_defined_is_the_agents():
    assert data_problems(task(more={"deep": [1]}), definition(field("script"))) == []


def test_passwords_are_masked_and_kept_where_the_mask_comes_back():
    job = Job(task=Task(custom=task(token="hunter2", other="x", named="{{TOKEN}}")))
    job.task.custom.secret_fields.extend(["named", "token"])
    stored = Job.FromString(job.SerializeToString())
    shown = masked(job).task.custom
    assert dict(shown.data) == {"token": MASK, "other": "x", "named": "{{TOKEN}}"}
    keep_masked(shown, stored.task.custom)
    assert shown.data["token"] == "hunter2"
    kinds = [definition(field("token", pb.TASK_FIELD_TYPE_PASSWORD), field("other"))]
    assert password_fields(kinds) == {"token"}


def test_what_is_wrong_with_definitions_is_named():
    twice = [definition(), definition()]
    assert definition_problems(twice) == [
        ("task_types", "'python' is there twice; choose another name")
    ]
    text = definition(field("x", options=("a",)))
    assert definition_problems([text]) == [
        ("task_types[0].fields[0].options", "only a select has choices")
    ]
    assert definition_problems([definition(field(""))])[0][0] == "task_types[0].fields[0].name"


def test_a_task_is_bounded():
    assert list(custom_problems(task(a="b"))) == []
    assert [p for p, _ in custom_problems(CustomTask())] == ["task.agent_task_type"]
    assert [p for p, _ in custom_problems(task(a="x" * 300_000))] == ["task.data"]
    deep = "x"
    for _ in range(30):
        deep = {"in": deep}
    assert [p for p, _ in custom_problems(task(a=deep))] == ["task.data"]


@given(some.text(), some.integers(min_value=0, max_value=2**63 - 1), some.text())
def test_an_attempt_is_read_only_as_it_was_made(execution_id, fence, other):
    tokens = AttemptTokens(b"k" * 32)
    made = tokens.make(execution_id, fence)
    assert tokens.read(execution_id, made) == fence
    assert AttemptTokens(b"j" * 32).read(execution_id, made) is None
    if other != execution_id:
        assert tokens.read(other, made) is None
    assert tokens.read(execution_id, f"{fence + 1}.{made.partition('.')[2]}") is None
    assert tokens.read(execution_id, other) is None or other == made
