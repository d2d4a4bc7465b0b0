"""`agent task-types`: what a custom agent can be asked for, shown or set from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.failure import CommandError
from kronforce.cli.job_files import Unreadable, read_documents
from kronforce.cli.missing import naming_similar
from kronforce.cli.session import Session, current
from kronforce.cli.show import Column, is_data, show_list, show_row
from kronforce.cli.table import Gives
from kronforce.v1.agent_pb2 import TaskField, TaskFieldType, TaskTypeDefinition
from kronforce.v1.agent_service_pb2 import SetAgentTaskTypesRequest, SetAgentTaskTypesResponse
from kronforce_client.dialect import DialectError, parse


def task_types(
    name: str, /, *, file: Annotated[Path | None, Parameter(name=["--file", "-f"])] = None
) -> None:
    """What a custom agent can be asked for.

    Parameters
    ----------
    name
        The agent's name or id.
    file
        Set them: all of them, a list as YAML or JSON, as `-o json` prints it.
    """
    session = current()
    wanted = None if file is None else _read(file)
    with session.client() as client, naming_similar(client, agent=name):
        if wanted is not None:
            found = client.agents.set_task_types(name, wanted)
        else:
            found = client.agents.task_types(name)
    _show(session, name, found)


def _read(path: Path) -> list[TaskTypeDefinition]:
    """The file's types: a list, or a document for each, or what `-o json` prints."""
    try:
        values = [each.value for each in read_documents(str(path))]
        types: list[object] = []
        for value in values:
            inside = value.get("task_types") if isinstance(value, dict) else value
            types += inside if isinstance(inside, list) else [value]
        return list(parse(SetAgentTaskTypesRequest, {"task_types": types}).task_types)
    except Unreadable as error:
        raise CommandError(str(error)) from error
    except DialectError as error:
        raise CommandError(*(f"{path}: {problem}" for problem in error.problems)) from error


def _show(session: Session, agent: str, found: Sequence[TaskTypeDefinition]) -> None:
    if is_data(session):
        reply = SetAgentTaskTypesResponse(task_types=found)
        show_row(session, reply, name=lambda _: "")
        return
    columns = [
        Column(title="TYPE", text=lambda each: str(each.name), gives=Gives.NAME),
        Column(title="FIELDS", text=_fields, gives=Gives.TEXT),
        Column(title="DESCRIPTION", text=lambda each: str(each.description), gives=Gives.TEXT),
    ]
    show_list(session, found, columns, name=lambda each: str(each.name))
    if not found:
        session.say(f"no task types    kronforce agent task-types {agent} -f FILE sets them")


def _fields(each: TaskTypeDefinition) -> str:
    return ", ".join(_field(field) for field in each.fields)


def _field(field: TaskField) -> str:
    kind = TaskFieldType.Name(field.field_type).removeprefix("TASK_FIELD_TYPE_").lower()
    words = [] if kind in ("unspecified", "text") else [kind]
    words += ["required"] if field.required else []
    return f"{field.name} ({', '.join(words)})" if words else str(field.name)
