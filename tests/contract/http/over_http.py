"""A gRPC client's call said over HTTP: from the request's message to path, query and body, and
from the answer back to the reply's message or the refusal.

Written against the contract alone (`google.api.http`, the JSON form), so that what it proves of
the gateway the gateway did not tell it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from google.api import annotations_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kronforce.v1 import options_pb2
from kronforce_client import dialect
from tests.contract.http.asgi import Answer, ask

_VERBS = ("get", "put", "post", "delete", "patch")
_VARIABLE = re.compile(r"\{([a-z_.]+)\}")


@dataclass(frozen=True, kw_only=True)
class HttpCall:
    """What is sent, and which field of the reply comes back alone."""

    verb: str
    path: str
    body: bytes
    response_body: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The gateway's refusal, as it stands in the answer."""

    def __init__(self, status: int, content: Mapping[str, Any]) -> None:
        super().__init__(content["error"])
        self.status = status
        self.message: str = content["error"]
        self.reason: str = content["reason"]
        self.fields = [(each["field"], each["message"]) for each in content["details"]]


def offered(method: MethodDescriptor) -> bool:
    """Whether the contract offers it over HTTP."""
    rule = method.GetOptions().Extensions[options_pb2.access]
    return options_pb2.SURFACE_HTTP in rule.exposure


def http_calls(method: MethodDescriptor, request: Message) -> Iterable[HttpCall]:
    """The request by each of the method's routes whose path it can fill."""
    options: Any = method.GetOptions().Extensions
    rule = options[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        values = [_value(request, name) for name in _VARIABLE.findall(getattr(each, verb))]
        if verb in _VERBS and all(values):
            yield _call(each, verb, request, values)


def _call(rule: Any, verb: str, request: Message, values: list[str]) -> HttpCall:
    path = getattr(rule, verb)
    data = dialect.render(request, omit_defaults=True)
    for name, value in zip(_VARIABLE.findall(path), values, strict=True):
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
        _take(data, name)
    headers = {name: str(data.pop(field)) for field, name in _in_headers(request) if field in data}
    body = b""
    if isinstance(raw := getattr(request, rule.body, None), bytes):
        # What is no JSON is sent as it is.
        body, _ = raw, data.pop(rule.body, None)
    elif rule.body == "*":
        body, data = orjson.dumps(data), {}
    elif rule.body:
        body = orjson.dumps(data.pop(rule.body, _nothing(request, rule.body)))
    query = urlencode(list(_pairs(data)))
    return HttpCall(
        verb=verb.upper(),
        path=f"{path}?{query}" if query else path,
        body=body,
        response_body=rule.response_body,
        headers=headers,
    )


def _in_headers(request: Message) -> Iterable[tuple[str, str]]:
    """Fields that the contract puts into headers, each with one of its names."""
    for each in request.DESCRIPTOR.fields:
        options: Any = each.GetOptions().Extensions
        for name in options[options_pb2.header][:1]:
            yield each.name, name


def _nothing(request: Message, name: str) -> Any:
    """What a body says that says nothing."""
    return [] if request.DESCRIPTOR.fields_by_name[name].is_repeated else {}


def _value(request: Any, name: str) -> str:
    for step in name.split("."):
        request = getattr(request, step)
    return str(request)


def _take(data: dict[str, Any], name: str) -> None:
    *outer, last = name.split(".")
    for step in outer:
        data = data[step]
    del data[last]


def _pairs(data: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _pairs(value, f"{prefix}{name}.")
            continue
        for each in value if isinstance(value, list) else [value]:
            yield prefix + name, str(each).lower() if isinstance(each, bool) else str(each)


async def call(app: Any, method: MethodDescriptor, sent: HttpCall, headers: Any) -> Message | None:
    """The reply; None of a stream that has begun, which is left then. Raises Refused."""
    answer = await ask(
        app, sent.verb, sent.path, body=sent.body, headers={**headers, **sent.headers}
    )
    if answer.status >= 400:
        raise Refused(answer.status, answer.json())
    return None if method.server_streaming else reply_of(method, sent, answer)


def reply_of(method: MethodDescriptor, sent: HttpCall, answer: Answer) -> Message:
    """The reply's message, out of its envelope."""
    data = answer.json()
    kind = GetMessageClass(method.output_type)
    if sent.response_body:
        data = {sent.response_body: data}
    elif "data" in data and "data" not in method.output_type.fields_by_name:
        data[_listed(method)] = data.pop("data")
    reply: Message = dialect.parse(kind, data)
    return reply


def _listed(method: MethodDescriptor) -> str:
    fields: Iterable[FieldDescriptor] = method.output_type.fields
    [name] = [field.name for field in fields if field.is_repeated and field.message_type]
    return name
