"""A reply or a refusal as the result of a tool, in the protocol's own form.

The data is the reply in the contract's JSON form without what is at its default, which a model need
not read; lists of a page are always there. A refusal has the text, reason and fields that it has
over gRPC and HTTP, and is a result too, so that the model can mend its call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from kronforce_client.dialect import render
from kronforce_gateway.failures import Failure
from kronforce_gateway.mcp import untrusted

Result = dict[str, Any]

# The current revision asks for it in every result, the earlier ones let it pass.
COMPLETE: Result = {"resultType": "complete"}
_DONE: Result = {"isError": False, **COMPLETE}

# Named in a result's data and in its `_meta`, so that programs find it without reading text.
UNTRUSTED = "untrusted"
META_KEY = "dev.kronforce/untrusted"


def result_of(reply: Message) -> Result:
    """What a call gave."""
    data = data_of(reply)
    plan = untrusted.plan_of(cast("Descriptor", reply.DESCRIPTOR))
    fields = untrusted.fields_of(plan, data) if plan else []
    if not fields:
        return {"content": [_text(data)], "structuredContent": data, **_DONE}
    marked = {UNTRUSTED: {"notice": untrusted.NOTICE, "fields": fields}}
    return {
        "content": [_text(marked | untrusted.fenced(plan, data))],
        "structuredContent": marked | data,
        **_DONE,
        "_meta": {META_KEY: fields},
    }


def data_of(reply: Message) -> dict[str, Any]:
    """Without defaults; the lists of a page also when they are empty."""
    data: dict[str, Any] = render(reply, omit_defaults=True)
    for field in reply.DESCRIPTOR.fields:
        if field.is_repeated and field.name not in data and _is_page(reply):
            data = {field.name: [], **data}
    return data


def _is_page(reply: Message) -> bool:
    return reply.DESCRIPTOR.name.startswith("List")


def refusal(failure: Failure) -> Result:
    """Why a call was refused."""
    said = {
        "error": failure.error,
        "reason": failure.reason,
        "details": [dict(each) for each in failure.details],
    }
    lines = [failure.error, f"reason: {failure.reason}"]
    lines += [f"field: {each['field']}" for each in failure.details if each["field"]]
    return {
        "content": [{"type": "text", "text": "\n".join(lines)}],
        "structuredContent": said,
        **_DONE,
        "isError": True,
    }


def _text(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": orjson.dumps(data).decode()}
