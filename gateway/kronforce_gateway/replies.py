"""From the method's reply to the body of the answer, by the rule.

A page of a list is `{"data": […], "next_page_token", "total", "total_exact"}`, to which a page that
was asked for by its number adds `"page"`, `"per_page"` and `"total_pages"`; where the rule names a
`response_body`, that field alone; everything else is the message.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from operator import attrgetter
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from kronforce_client.dialect import writer_of_some
from kronforce_gateway.bindings import Binding
from kronforce_gateway.kept_json import encoder_of

# The contract's default, and how many rows pages by number reach.
PER_PAGE = 100
NUMBERED_ROWS = 10_000


# What orjson encodes, of a reply and the request that it answers.
Shape = Callable[[Any, Any], Any]

# By method and response_body: two routes of one method have the same reply.
_SHAPES: dict[tuple[str, str], Shape] = {}


def encode(binding: Binding, reply: Message, request: Any) -> bytes:
    """JSON text."""
    key = binding.name, binding.response_body
    shape = _SHAPES.get(key)
    if shape is None:
        shape = _SHAPES[key] = _shape(binding)
    return orjson.dumps(shape(reply, request))


def _shape(binding: Binding) -> Shape:
    kind = binding.method.output_type
    if binding.response_body:
        return _field_alone(kind, binding.response_body)
    if binding.listed:
        return _page(kind, binding.listed)
    whole = encoder_of(kind)
    return lambda reply, _: whole(reply)


def _field_alone(kind: Descriptor, name: str) -> Shape:
    write = writer_of_some(kind, lambda field: field == name)
    return lambda reply, _: write(reply)[name]


def _page(kind: Descriptor, listed: str) -> Shape:
    item = kind.fields_by_name[listed].message_type
    assert item is not None
    encode_item, items = encoder_of(item), attrgetter(listed)
    rest = writer_of_some(kind, lambda field: field != listed)

    def shape(reply: Any, request: Any) -> Any:
        data = {"data": [encode_item(each) for each in items(reply)], **rest(reply)}
        if request.page:
            data |= _numbers(request, data["total"])
        return data

    return shape


def _numbers(request: Any, total: int) -> dict[str, int]:
    per_page = request.page_size or PER_PAGE
    pages = -(-min(total, NUMBERED_ROWS) // per_page)
    return {"page": request.page, "per_page": per_page, "total_pages": pages}


def status_of(binding: Binding) -> int:
    """Of an answer that went well."""
    if binding.verb != "POST":
        return HTTPStatus.OK
    if binding.method.name.startswith("Fire"):
        # Taken from somebody who is told no more than that.
        return HTTPStatus.ACCEPTED
    return HTTPStatus.CREATED if binding.method.name.startswith("Create") else HTTPStatus.OK


def etag_of(reply: Any) -> str:
    """Of a resource that has one."""
    return getattr(reply, "etag", "")
