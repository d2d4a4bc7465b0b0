"""Which method is which tool, by rule.

A unary method that the contract exposes over MCP is the tool of its name in snake case; its
permission says who is shown it and whether it only reads. What AI clients read of a tool (text and
schemas) is made of the contract beforehand and lies in `tools.json`: descriptors that a program
loads have no comments. One tool is more than a method: `watch_run` reads a run and tells of its
progress until it has ended. Must not know the MCP SDK, which is slow to load.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kronforce.v1 import execution_service_pb2, options_pb2

TEXTS = Path(__file__).parent / "tools.json"

WATCH_RUN = "watch_run"

_EXECUTIONS = execution_service_pb2.DESCRIPTOR.services_by_name["ExecutionService"]
GET_RUN = _EXECUTIONS.methods_by_name["GetRun"]
WATCH_RUNS = _EXECUTIONS.methods_by_name["WatchRuns"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """One tool. `method` gives its reply, also where the tool is more than a call of it."""

    name: str
    method: MethodDescriptor
    permission: str
    destructive: bool
    idempotent: bool

    @property
    def read_only(self) -> bool:
        """Whether it changes nothing: the verb of its permission says so."""
        return self.permission.endswith(".read")

    @property
    def request_class(self) -> type[Message]:
        return GetMessageClass(self.method.input_type)


def tools_of(services: Iterable[ServiceDescriptor]) -> dict[str, Tool]:
    """Every tool by name, in the order of their names."""
    found = {tool.name: tool for tool in _tools(services)}
    return dict(sorted(found.items()))


def _tools(services: Iterable[ServiceDescriptor]) -> Iterator[Tool]:
    for service in services:
        for method in service.methods:
            if not exposed(method):
                continue
            if method is WATCH_RUNS:
                yield _tool(WATCH_RUN, GET_RUN)
            elif not (method.server_streaming or method.client_streaming):
                yield _tool(snake_case(method.name), method)


def _tool(name: str, method: MethodDescriptor) -> Tool:
    options = method.GetOptions()
    said = options.Extensions[options_pb2.mcp_tool]
    permission = options.Extensions[options_pb2.access].permission
    reads = permission.endswith(".read")
    return Tool(
        name=name,
        method=method,
        permission=permission,
        destructive=said.destructive,
        idempotent=said.idempotent or reads,
    )


def exposed(method: MethodDescriptor) -> bool:
    """Whether the contract offers it over MCP."""
    rule = method.GetOptions().Extensions[options_pb2.access]
    return options_pb2.SURFACE_MCP in rule.exposure


def snake_case(name: str) -> str:
    """`ListJobs` is `list_jobs`, `WhoAmI` is `who_am_i`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


@cache
def texts() -> Mapping[str, Mapping[str, Any]]:
    """Each tool as AI clients are told of it, by name; in the protocol's own form."""
    told = json.loads(TEXTS.read_text(encoding="utf-8"))
    return {each["name"]: each for each in told}
