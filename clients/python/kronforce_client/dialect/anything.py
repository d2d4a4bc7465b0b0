"""`google.protobuf.Any`: the fields of the message inside, beside its type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from kronforce_client.dialect.known import KNOWN, WRAPPERS
from kronforce_client.dialect.problems import described
from kronforce_client.dialect.scalars import Wrong, read_bytes, write_bytes


def write_any(value: any_pb2.Any, render: Callable[[Message], Any]) -> dict[str, Any]:
    """`{"@type": …, fields}`; a type that is not known here keeps its bytes as base64."""
    if not value.type_url and not value.value:
        return {}
    inside = _decoded(value)
    if inside is None:
        return {"@type": value.type_url, "value": write_bytes(value.value)}
    content = render(inside)
    fields = {"value": content} if _has_own_form(type(inside)) else content
    return {"@type": value.type_url, **fields}


def read_any(value: Any, parse: Callable[[type[Message], Any], Message]) -> any_pb2.Any:
    """The message packed; its own fields are read as strictly as any."""
    if not isinstance(value, Mapping):
        raise Wrong(f"must be an object, not {described(value)}")
    if not value:
        return any_pb2.Any()
    url = value.get("@type")
    if not isinstance(url, str):
        raise Wrong('needs "@type": the type of the message inside')
    kind = _class_of(url)
    rest = {key: each for key, each in value.items() if key != "@type"}
    if kind is None:
        return any_pb2.Any(type_url=url, value=read_bytes(rest.get("value", "")))
    inside = parse(kind, rest.get("value") if _has_own_form(kind) else rest)
    return any_pb2.Any(type_url=url, value=inside.SerializeToString(deterministic=True))


def _has_own_form(kind: type[Message]) -> bool:
    """Whether its plain data is not an object of its fields."""
    name = kind.DESCRIPTOR.full_name
    return name in KNOWN or name in WRAPPERS


def _decoded(value: any_pb2.Any) -> Message | None:
    kind = _class_of(value.type_url)
    try:
        return None if kind is None else kind.FromString(value.value)
    except DecodeError:
        return None


def _class_of(url: str) -> type[Message] | None:
    try:
        found = descriptor_pool.Default().FindMessageTypeByName(url.rpartition("/")[2])
    except KeyError:
        return None
    return message_factory.GetMessageClass(found)
