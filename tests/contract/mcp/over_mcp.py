"""A gRPC client's call said as a tool call of the protocol's current revision, and its result back.

Written against the protocol and the contract, without the SDK: a request is one POST with all that
it needs, its answer is JSON.
"""

from __future__ import annotations

from typing import Any

import orjson
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kronforce_client import dialect
from kronforce_gateway.mcp.catalogue import exposed, snake_case
from tests.contract.http.asgi import Answer, ask

REVISION = "2026-07-28"
_META = {
    "io.modelcontextprotocol/protocolVersion": REVISION,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_BOTH = "application/json, text/event-stream"


class Refused(Exception):
    """The result of a tool that refused."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(said["error"])
        self.message: str = said["error"]
        self.reason: str = said["reason"]
        self.fields = [(each["field"], each["message"]) for each in said["details"]]


class Unauthorised(Exception):
    """The gateway's own refusal, before any tool was looked for."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def offered(method: MethodDescriptor) -> bool:
    """Whether it is a tool, and nothing but that method."""
    return exposed(method) and not (method.server_streaming or method.client_streaming)


async def ask_mcp(app: Any, method: str, params: dict[str, Any], headers: Any) -> Any:
    """The result of a request. Raises Unauthorised, or the error as it came."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": _META}}
    sent = {"accept": _BOTH, "mcp-protocol-version": REVISION, "mcp-method": method, **headers}
    if "name" in params:
        sent["mcp-name"] = params["name"]
    answer = await ask(app, "POST", "/mcp", body=orjson.dumps(body), headers=sent)
    if "error" in (said := answer.json()) and "reason" in said:
        raise Unauthorised(answer)
    assert "result" in said, said
    return said["result"]


async def call(app: Any, method: MethodDescriptor, request: Message, headers: Any) -> Message:
    """The reply of a method. Raises Refused or Unauthorised."""
    arguments = dialect.render(request, omit_defaults=True)
    params = {"name": snake_case(method.name), "arguments": arguments}
    result = await ask_mcp(app, "tools/call", params, headers)
    data = result["structuredContent"]
    if result["isError"]:
        raise Refused(data)
    data.pop("untrusted", None)
    reply: Message = dialect.parse(GetMessageClass(method.output_type), data)
    return reply
