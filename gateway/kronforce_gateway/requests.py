"""From an HTTP request to the method's message: path, query and body, put together by the rule.

Path and query are text and become what the field's type says; the body is JSON. Everything is then
read by one strict reader, which names each problem by its field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from kronforce_client.dialect import DialectError, Problem, loads, parse
from kronforce_gateway import failures
from kronforce_gateway.bindings import WHOLE, Binding

MASK = "update_mask"
ETAG = "etag"

# More pairs than any call has fields.
MAX_QUERY_FIELDS = 200

_WORDS = {"true": True, "1": True, "false": False, "0": False}


def read_request(
    binding: Binding, values: tuple[str, ...], query: bytes, body: bytes, if_match: str = ""
) -> Message:
    """The method's request. Raises Failure."""
    try:
        data = _of_query(binding.method.input_type, query) if query else {}
        _put_body(binding, data, body)
        for path, value in zip(binding.variables, values, strict=True):
            _put(data, path, value)
        if if_match:
            _put_etag(binding, data, if_match)
        return parse(binding.request_class, data)
    except DialectError as error:
        raise failures.of_document(error, below=_below(binding)) from None


def _below(binding: Binding) -> str:
    return "" if binding.body == WHOLE else binding.body


def _put_body(binding: Binding, data: dict[str, Any], body: bytes) -> None:
    if not binding.body:
        return
    value = loads(body) if body.strip() else {}
    if binding.body == WHOLE:
        if not isinstance(value, dict):
            raise DialectError([Problem(path=(), message="the body must be an object")])
        data.update(value)
        return
    data[binding.body] = value
    if binding.verb == "PUT" and isinstance(value, dict) and MASK not in data:
        _put_mask(binding, data, value)


def _put_mask(binding: Binding, data: dict[str, Any], value: dict[str, Any]) -> None:
    """A PUT changes what its body names; null clears, what is absent stays."""
    if MASK in binding.method.input_type.fields_by_name:
        data[MASK] = ",".join(value)
        data[binding.body] = {key: each for key, each in value.items() if each is not None}


def _put_etag(binding: Binding, data: dict[str, Any], etag: str) -> None:
    """If-Match stands for the etag of the request, or of the resource in it."""
    etag = etag.strip().removeprefix("W/").strip('"')
    if etag == "*":
        return
    resource = binding.body_field
    if (kind := resource and resource.message_type) and ETAG in kind.fields_by_name:
        if isinstance(data.get(binding.body), dict):
            data[binding.body].setdefault(ETAG, etag)
    elif ETAG in binding.method.input_type.fields_by_name:
        data.setdefault(ETAG, etag)


def _of_query(kind: Descriptor, query: bytes) -> dict[str, Any]:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    if len(pairs) > MAX_QUERY_FIELDS:
        raise DialectError([Problem(path=(), message="the query has too many fields")])
    data: dict[str, Any] = {}
    for name, text in pairs:
        path = tuple(name.split("."))
        field = _field_at(kind, path)
        if field is not None and field.is_repeated:
            _extend(data, path, _typed(field, text))
        else:
            _put(data, path, _typed(field, text))
    return data


def _field_at(kind: Descriptor, path: Iterable[str]) -> FieldDescriptor | None:
    field: FieldDescriptor | None = None
    at: Descriptor | None = kind
    for name in path:
        field = at.fields_by_name.get(name) if at is not None else None
        if field is None:
            return None
        at = field.message_type
    return field


def _typed(field: FieldDescriptor | None, text: str) -> Any:
    """What stands for the text in JSON; text that fits no type stays, and is refused as it is."""
    if field is None:
        return text
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _WORDS.get(text.lower(), text)
    if field.cpp_type in _NUMBERS and text.removeprefix("-").isdecimal():
        return int(text)
    return text


_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT64,
}


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *outer, last = path
    _within(data, outer)[last] = value


def _extend(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *outer, last = path
    _within(data, outer).setdefault(last, []).append(value)


def _within(data: dict[str, Any], path: Iterable[str]) -> dict[str, Any]:
    for step in path:
        inner = data.setdefault(step, {})
        if not isinstance(inner, dict):
            raise DialectError([Problem(path=(step,), message="is given twice, once as a whole")])
        data = inner
    return data


def forwarded(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """What of the headers goes with the call."""
    return {
        name: headers[key].decode("latin-1") for key, name in _FORWARDED.items() if key in headers
    }


_FORWARDED = {
    key: key.decode("latin-1")
    for key in (b"authorization", b"client-id", b"traceparent", b"tracestate", b"x-request-id")
}
