"""From an HTTP request to the method's message: path, query and body, put together by the rule.

Path and query are text (`queries`), the body is JSON. Everything is then read by one strict reader,
which names each problem by its field as it stands in the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from kronforce_client.dialect import DialectError, Problem, loads, parse
from kronforce_client.dialect.problems import described
from kronforce_gateway import failures
from kronforce_gateway.bindings import WHOLE, Binding

MASK = "update_mask"
ETAG = "etag"

IF_MATCH = "If-Match"


def read_request(
    binding: Binding,
    values: tuple[str, ...],
    query: bytes,
    body: bytes,
    if_match: str = "",
    headers: Mapping[bytes, bytes] | None = None,
) -> Message:
    """The method's request. Raises Failure."""
    data = _read_query(binding, query) if query else {}
    try:
        _put_body(binding, data, body)
        for path, value in zip(binding.variables, values, strict=True):
            _put_path(data, path, value)
        if if_match:
            _put_etag(binding, data, if_match)
        if binding.headers:
            _put_headers(binding, data, headers or {})
        request = parse(binding.request_class, data)
        if binding.raw:
            setattr(request, binding.body, body)
        return request
    except DialectError as error:
        below = "" if binding.body == WHOLE else binding.body
        raise failures.of_document(error, below=below, names=binding.query.as_sent(query)) from None


def _read_query(binding: Binding, query: bytes) -> dict[str, Any]:
    try:
        return binding.query.read(query)
    except DialectError as error:
        raise failures.of_document(error) from None


def _put_body(binding: Binding, data: dict[str, Any], body: bytes) -> None:
    if not binding.body or binding.raw:
        return
    if binding.body == WHOLE:
        if body:
            data.update(_object(loads(body)))
        return
    if not body.strip():
        raise _wrong("the body is empty; send the fields as a JSON object")
    if binding.takes_list:
        data[binding.body] = _list(loads(body))
        return
    value = _object(loads(body))
    data[binding.body] = value
    if binding.verb == "PUT" and MASK not in data:
        _put_mask(binding, data, value)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(f"the body must be an object, not {described(value)}")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(f"the body must be a list, not {described(value)}")
    return value


def _put_mask(binding: Binding, data: dict[str, Any], value: dict[str, Any]) -> None:
    """A PUT changes what its body names; null clears, what is absent stays."""
    resource = binding.resource
    if resource is not None and MASK in binding.method.input_type.fields_by_name:
        known = resource.fields_by_name
        # An empty mask would mean everything; the etag is there to be compared, not changed.
        data[MASK] = ",".join(key for key in value if key in known) or ETAG
        data[binding.body] = {key: each for key, each in value.items() if each is not None}


def _put_etag(binding: Binding, data: dict[str, Any], if_match: str) -> None:
    """If-Match stands for the etag of the request, or of the resource in it."""
    etag = if_match.strip().removeprefix("W/").strip('"')
    if binding.resource is not None and ETAG in binding.resource.fields_by_name:
        at = data[binding.body]
    elif ETAG in binding.method.input_type.fields_by_name:
        at = data
    elif binding.verb == "GET":
        return
    else:
        raise _wrong("is not taken here: what it would guard has no etag", IF_MATCH)
    if etag != "*" and at.setdefault(ETAG, etag) != etag:
        raise _wrong("is another etag than the body's; send one of them", IF_MATCH)


def _put_headers(binding: Binding, data: dict[str, Any], headers: Mapping[bytes, bytes]) -> None:
    for field, names in binding.headers:
        found = next((name for name in names if name in headers), None)
        if found is not None:
            data[field] = headers[found].decode("latin-1").strip()


def _put_path(data: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    """What the path says; the body may say the same, and nothing else."""
    *outer, last = path
    for step in outer:
        inside: Any = data.setdefault(step, {})
        if not isinstance(inside, dict):
            raise _wrong(f"must be an object, not {described(inside)}", step)
        data = inside
    if data.setdefault(last, value) != value:
        raise _wrong(f"is another than the path's, {value!r}; leave it out", *path)


def _wrong(message: str, *path: str) -> DialectError:
    return DialectError([Problem(path=path, message=message)])


def forwarded(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """What of the headers goes with the call."""
    names = _FORWARDED if b"authorization" in headers else _WITHOUT_A_KEY
    return {name: as_metadata(headers[key]) for key, name in names.items() if key in headers}


def as_metadata(value: bytes) -> str:
    """A header as a call's metadata can hold it: what gRPC would refuse is a question mark."""
    text = value.decode("latin-1")
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if " " <= each <= "~" else "?" for each in text)


_FORWARDED = {
    key: key.decode("latin-1")
    for key in (b"authorization", b"client-id", b"traceparent", b"tracestate", b"x-request-id")
}
# That a browser calls, or somebody behind a proxy: what this host may do without a key is not for
# them.
_WITHOUT_A_KEY = _FORWARDED | {
    key: key.decode("latin-1")
    for key in (b"origin", b"sec-fetch-site", b"x-forwarded-for", b"forwarded")
}
