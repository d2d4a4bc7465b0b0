"""From the method's reply to the body of the answer, by the rule.

A page of a list is `{"data": […], "next_page_token", "total", "total_exact"}`; where the rule names
a `response_body`, that field alone; everything else is the message.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from google.protobuf.message import Message

from kronforce_client.dialect import render
from kronforce_gateway.bindings import Binding


def encode(binding: Binding, reply: Message) -> bytes:
    """JSON text."""
    data = render(reply)
    if binding.response_body:
        data = data[binding.response_body]
    elif listed := binding.listed:
        data = {"data": data.pop(listed), **data}
    return orjson.dumps(data)


def status_of(binding: Binding) -> int:
    """Of an answer that went well."""
    created = binding.verb == "POST" and binding.method.name.startswith("Create")
    return HTTPStatus.CREATED if created else HTTPStatus.OK


def etag_of(reply: Any) -> str:
    """Of a resource that has one."""
    return getattr(reply, "etag", "")
