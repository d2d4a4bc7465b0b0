"""Which HTTP call is which method: read from `google.api.http` in the descriptors.

Nothing here knows a resource: a method that gets an HTTP rule in the contract has a route.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import (
    Descriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kronforce.v1 import options_pb2
from kronforce_gateway.queries import QueryFields

_VERBS = ("get", "put", "post", "delete", "patch")
_VARIABLE = re.compile(r"\{([a-z_.]+)\}")

# The permission of methods that need no key.
PUBLIC = "public"

# `body: "*"`: every field that the path does not hold.
WHOLE = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One route of one method. `variables` are field paths, in the order of the path's."""

    method: MethodDescriptor
    verb: str
    path: str
    variables: tuple[tuple[str, ...], ...]
    body: str
    response_body: str
    request_class: type[Message]
    # A number of `kronforce.v1.RateClass`.
    rate_class: int
    query: QueryFields
    # Fields that the contract says are taken from headers, each with the headers' names.
    headers: tuple[tuple[str, tuple[bytes, ...]], ...]
    # Whether the body is a field of bytes: taken as it comes, not read as JSON.
    raw: bool
    # Whether a call may wait for something: one whose caller leaves is ended.
    waits: bool
    # Whether a reply with nothing set is 204.
    may_be_empty: bool

    @property
    def name(self) -> str:
        """`JobService.GetJob`, for people."""
        return f"{self.method.containing_service.name}.{self.method.name}"

    @property
    def public(self) -> bool:
        """Whether it needs no key."""
        rule = self.method.GetOptions().Extensions[options_pb2.access]
        return bool(rule.permission == PUBLIC)

    @property
    def of_agents(self) -> bool:
        """Whether agents call it, some of which need no key; which, the controller knows."""
        return self.rate_class == options_pb2.RATE_CLASS_AGENT

    @property
    def streaming(self) -> bool:
        """Whether the method answers with more than one message."""
        return self.method.server_streaming

    @property
    def body_field(self) -> FieldDescriptor | None:
        """The field that the request's body is, where it is one."""
        if self.body in ("", WHOLE):
            return None
        return self.method.input_type.fields_by_name[self.body]

    @property
    def takes_list(self) -> bool:
        """Whether the request's body is a list."""
        field = self.body_field
        return field is not None and field.is_repeated

    @property
    def resource(self) -> Descriptor | None:
        """The message that the request's body is, where it is one field of the request."""
        field = self.body_field
        return None if field is None else field.message_type

    @property
    def listed(self) -> str:
        """The repeated field of a reply that is a page of a list; else empty."""
        if "page_size" not in self.method.input_type.fields_by_name:
            return ""
        fields = self.method.output_type.fields
        repeated = [field.name for field in fields if field.is_repeated and field.message_type]
        return repeated[0] if len(repeated) == 1 else ""


def bindings_of(services: Iterable[ServiceDescriptor]) -> Iterator[Binding]:
    """The routes of all methods that are exposed over HTTP."""
    for service in services:
        for method in service.methods:
            if _exposed(method):
                yield from _of_method(method)


def _exposed(method: MethodDescriptor) -> bool:
    rule = method.GetOptions().Extensions[options_pb2.access]
    return options_pb2.SURFACE_HTTP in rule.exposure


def _of_method(method: MethodDescriptor) -> Iterator[Binding]:
    extensions: Any = method.GetOptions().Extensions
    rule = extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        if verb in _VERBS:
            yield _binding(method, each, verb)


def _binding(method: MethodDescriptor, rule: http_pb2.HttpRule, verb: str) -> Binding:
    path = getattr(rule, verb)
    variables = tuple(tuple(name.split(".")) for name in _VARIABLE.findall(path))
    return Binding(
        method=method,
        verb=verb.upper(),
        path=path,
        variables=variables,
        body=rule.body,
        response_body=rule.response_body,
        request_class=GetMessageClass(method.input_type),
        rate_class=method.GetOptions().Extensions[options_pb2.access].rate_class,
        query=QueryFields(method.input_type, _elsewhere(method, rule.body, variables)),
        headers=tuple(_of_headers(method.input_type)),
        raw=_is_raw(method.input_type, rule.body),
        waits="wait" in method.input_type.fields_by_name,
        may_be_empty=method.GetOptions().Extensions[options_pb2.http_form].empty_is_no_content,
    )


def _elsewhere(
    method: MethodDescriptor, body: str, variables: Iterable[tuple[str, ...]]
) -> dict[str, str]:
    """The request's fields that are not in the query, and where they are."""
    inside = [field.name for field in method.input_type.fields] if body == WHOLE else [body]
    in_path = {variable[0] for variable in variables if len(variable) == 1}
    in_headers = [name for name, _ in _of_headers(method.input_type)]
    return (
        dict.fromkeys(inside, "in the body")
        | dict.fromkeys(in_path, "in the path")
        | dict.fromkeys(in_headers, "in a header")
    )


def _of_headers(kind: Descriptor) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    for field in kind.fields:
        if names := field.GetOptions().Extensions[options_pb2.header]:
            yield field.name, tuple(name.encode() for name in names)


def _is_raw(kind: Descriptor, body: str) -> bool:
    field = kind.fields_by_name.get(body)
    return field is not None and field.type == FieldDescriptor.TYPE_BYTES
