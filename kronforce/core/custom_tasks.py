"""Tasks of custom agents: what a definition may say, and what a job must say to fit it.

Pure. A type is named `custom:NAME` where agents and routes speak of task types, so that a custom
type is never taken for one of ours. Values of password fields are masked wherever a job is shown;
which fields those are is written into the job when it is saved, so that a definition which changes
later uncovers nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.json_format import MessageToJson
from google.protobuf.struct_pb2 import Struct, Value

from kronforce.core.params_rules import free_json_problems
from kronforce.core.variable_rules import MASKED_FROM
from kronforce.v1.agent_pb2 import TaskField, TaskFieldType, TaskTypeDefinition
from kronforce.v1.job_pb2 import CustomTask, Job

Problem = tuple[str, str]

# What a custom type is called among task types.
PREFIX = "custom:"
# An agent with this task type runs every custom task.
ANY_CUSTOM = "custom"

NAME_MAX = 100
DESCRIPTION_MAX = 1_000
LABEL_MAX = 200
OPTION_MAX = 1_000
# Task types of an agent, fields of a type, choices of a field: more than a form shows.
TYPES_MAX = 100
FIELDS_MAX = 100
OPTIONS_MAX = 1_000
DATA_BYTES_MAX = 256 << 10
# Below what any reader of protobuf follows, with the job and the page of jobs around it.
DATA_DEPTH_MAX = 20

# What stands for a value that is not shown; sent back it keeps the value.
MASK = "********"

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_NAME_RULE = f"1 to {NAME_MAX} letters, digits, '.', '_' or '-'"


def kind_of(job: Job) -> str:
    """The task type as agents and routes know it: an arm's name, or `custom:NAME`."""
    arm = job.task.WhichOneof("kind") or ""
    return f"{PREFIX}{job.task.custom.agent_task_type}" if arm == "custom" else arm


def is_custom(task_type: str) -> bool:
    return task_type.startswith(PREFIX)


def definition_problems(definitions: Sequence[TaskTypeDefinition]) -> list[Problem]:
    """Everything that is wrong with an agent's task types, by field."""
    if len(definitions) > TYPES_MAX:
        return [("task_types", f"has {len(definitions)} types; at most {TYPES_MAX}")]
    found = list(_doubles("task_types", [each.name for each in definitions]))
    for place, each in enumerate(definitions):
        found += _definition(f"task_types[{place}]", each)
    return found


def _definition(at: str, each: TaskTypeDefinition) -> Iterator[Problem]:
    yield from _name(f"{at}.name", each.name)
    yield from _longest(f"{at}.description", each.description, DESCRIPTION_MAX)
    if len(each.fields) > FIELDS_MAX:
        yield f"{at}.fields", f"has {len(each.fields)} fields; at most {FIELDS_MAX}"
        return
    yield from _doubles(f"{at}.fields", [field.name for field in each.fields])
    for place, field in enumerate(each.fields):
        yield from _field(f"{at}.fields[{place}]", field)


def _field(at: str, field: TaskField) -> Iterator[Problem]:
    yield from _name(f"{at}.name", field.name)
    yield from _longest(f"{at}.label", field.label, LABEL_MAX)
    if field.field_type not in TaskFieldType.DESCRIPTOR.values_by_number:
        yield f"{at}.field_type", "use text, textarea, number, select or password"
    select = field.field_type == TaskFieldType.TASK_FIELD_TYPE_SELECT
    if select != bool(field.options):
        yield (
            f"{at}.options",
            "is required: the choices of a select" if select else "only a select has choices",
        )
    if len(field.options) > OPTIONS_MAX:
        yield f"{at}.options", f"has {len(field.options):,} choices; at most {OPTIONS_MAX:,}"
        return
    for place, option in enumerate(field.options):
        where = f"{at}.options[{place}]"
        if not option.value:
            yield f"{where}.value", "is required: what the agent gets"
        yield from _longest(f"{where}.value", option.value, OPTION_MAX)
        yield from _longest(f"{where}.label", option.label, OPTION_MAX)


def _name(at: str, name: str) -> Iterator[Problem]:
    if len(name) > NAME_MAX or not _NAME.fullmatch(name):
        yield at, f"{name[:NAME_MAX]!r} is no name; use {_NAME_RULE}"


def _longest(at: str, text: str, longest: int) -> Iterator[Problem]:
    if len(text) > longest:
        yield at, f"is {len(text):,} characters long; at most {longest:,}"


def _doubles(at: str, names: Sequence[str]) -> Iterator[Problem]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield at, f"{name!r} is there twice; choose another name"
        seen.add(name)


def custom_problems(task: CustomTask) -> Iterator[Problem]:
    """What is wrong with a task in itself, whatever its definition says."""
    if not task.agent_task_type:
        yield (
            "task.agent_task_type",
            "is required: a task type of the agent, see `kronforce agent task-types AGENT`",
        )
    else:
        yield from _name("task.agent_task_type", task.agent_task_type)
    if _depth_beyond(task.data, DATA_DEPTH_MAX):
        yield "task.data", f"is nested deeper than {DATA_DEPTH_MAX} levels"
        return
    if wrong := free_json_problems("task.data", task.data):
        yield from wrong
        return
    size = len(MessageToJson(task.data, indent=None, ensure_ascii=False).encode())
    if size > DATA_BYTES_MAX:
        yield "task.data", f"is {size:,} bytes as JSON; at most {DATA_BYTES_MAX:,}"


def _depth_beyond(data: Struct, deepest: int) -> bool:
    level: list[Value] = list(data.fields.values())
    for _ in range(deepest):
        level = [inner for value in level for inner in _inner(value)]
        if not level:
            return False
    return True


def _inner(value: Value) -> Iterable[Value]:
    if value.HasField("struct_value"):
        return value.struct_value.fields.values()
    return value.list_value.values if value.HasField("list_value") else ()


def data_problems(task: CustomTask, definition: TaskTypeDefinition) -> list[Problem]:
    """What the definition asks for and the data lacks. More than it asks for is the agent's."""
    return [
        (f"task.data.{field.name}", problem)
        for field in definition.fields
        if (problem := _value_problem(field, task.data.fields.get(field.name)))
    ]


def _value_problem(field: TaskField, value: Value | None) -> str:
    if value is None or value.WhichOneof("kind") in (None, "null_value") or _is_empty(value):
        return f"is required: {field.label or field.name}" if field.required else ""
    if _is_placeholder(value):
        # It is put in when an attempt begins: nobody can judge it before.
        return ""
    kinds = TaskFieldType
    if field.field_type == kinds.TASK_FIELD_TYPE_NUMBER and not _is_number(value):
        return "is no number"
    if field.field_type == kinds.TASK_FIELD_TYPE_SELECT:
        known = [option.value for option in field.options]
        if _text_of(value) not in known:
            return f"is none of its choices: {', '.join(known[:10])}"
    return ""


def _is_empty(value: Value) -> bool:
    return value.HasField("string_value") and not value.string_value


def _is_placeholder(value: Value) -> bool:
    return value.HasField("string_value") and "{{" in value.string_value


def _is_number(value: Value) -> bool:
    if value.HasField("number_value"):
        return True
    try:
        return value.HasField("string_value") and math.isfinite(float(value.string_value))
    except ValueError:
        return False


def _text_of(value: Value) -> str:
    if value.HasField("number_value"):
        return f"{value.number_value:g}"
    return value.string_value


def password_fields(definitions: Iterable[TaskTypeDefinition]) -> set[str]:
    """The fields whose values no reply shows."""
    return {
        field.name
        for each in definitions
        for field in each.fields
        if field.field_type == TaskFieldType.TASK_FIELD_TYPE_PASSWORD
    }


def masked(job: Job) -> Job:
    """The same message with its password values masked: for everybody but the agent.

    Placeholders stay: they name a variable, and say nothing of its value.
    """
    if job.task.WhichOneof("kind") == "custom":
        fields = job.task.custom.data.fields
        for name in job.task.custom.secret_fields:
            if name in fields and not _is_placeholder(fields[name]):
                fields[name].string_value = MASK
    return job


def own_secrets(job: Job) -> list[bytes]:
    """Password values that stand in the job itself, and must not be seen in its output."""
    if job.task.WhichOneof("kind") != "custom":
        return []
    fields = job.task.custom.data.fields
    values = [fields[name] for name in job.task.custom.secret_fields if name in fields]
    texts = {_text_of(value) for value in values if not _is_placeholder(value)}
    return sorted(text.encode() for text in texts if len(text.encode()) >= MASKED_FROM)


def keep_masked(task: CustomTask, before: CustomTask) -> None:
    """Where a mask was sent back, the value that is stored."""
    for name in before.secret_fields:
        if name in task.data.fields and task.data.fields[name].string_value == MASK:
            task.data.fields[name].CopyFrom(before.data.fields[name])
