"""From the method's reply to the body of the answer, by the rule.

A page of a list is `{"data": […], "next_page_token", "total", "total_exact"}`, to which a page that
was asked for by its number adds `"page"`, `"per_page"` and `"total_pages"`; where the rule names a
`response_body`, that field alone; everything else is the message.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from google.protobuf.message import Message

from kronforce_client.dialect import render
from kronforce_gateway.bindings import Binding

# The contract's default, and how many rows pages by number reach.
PER_PAGE = 100
NUMBERED_ROWS = 10_000


def encode(binding: Binding, reply: Message, request: Any) -> bytes:
    """JSON text."""
    data = render(reply)
    if binding.response_body:
        data = data[binding.response_body]
    elif listed := binding.listed:
        data = {"data": data.pop(listed), **data}
        if request.page:
            data |= _numbers(request, data["total"])
    return orjson.dumps(data)


def _numbers(request: Any, total: int) -> dict[str, int]:
    per_page = request.page_size or PER_PAGE
    pages = -(-min(total, NUMBERED_ROWS) // per_page)
    return {"page": request.page, "per_page": per_page, "total_pages": pages}


def status_of(binding: Binding) -> int:
    """Of an answer that went well."""
    created = binding.verb == "POST" and binding.method.name.startswith("Create")
    return HTTPStatus.CREATED if created else HTTPStatus.OK


def etag_of(reply: Any) -> str:
    """Of a resource that has one."""
    return getattr(reply, "etag", "")
