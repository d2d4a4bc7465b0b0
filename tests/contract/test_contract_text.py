"""What the contract itself must say, read from its descriptors: rules, paths, comments.

The list of documented paths is the guide's, for what this version builds or has reserved; those of
services that do not exist yet stand in `LATER`, so that building one without its path fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor, MethodDescriptor

from kronforce.core.access import is_known
from kronforce.v1 import api_key_pb2, error_reason_pb2, job_pb2, options_pb2
from kronforce_gateway.contract import SERVICES

PROTO = Path(__file__).parents[2] / "proto"

SERVICE_FILES: list[FileDescriptor] = [service.file for service in SERVICES]
METHODS: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]

# Of the guide. What stands in braces may have another name in the contract.
DOCUMENTED = """
    GET /api/jobs
    POST /api/jobs
    GET /api/jobs/{id}
    PUT /api/jobs/{id}
    DELETE /api/jobs/{id}
    POST /api/jobs/{id}/trigger
    GET /api/jobs/{id}/executions
    GET /api/jobs/groups
    POST /api/jobs/groups
    PUT /api/jobs/bulk-group
    PUT /api/jobs/rename-group
    GET /api/executions
    GET /api/executions/{id}
    POST /api/executions/{id}/cancel
    GET /api/agents
    GET /api/agents/{id}
    DELETE /api/agents/{id}
    POST /api/agents/register
    POST /api/agents/{id}/heartbeat
    GET /api/agents/{id}/task-types
    PUT /api/agents/{id}/task-types
    GET /api/agent-queue/{id}/next
    POST /api/callbacks/execution-result
    GET /api/events
    GET /api/audit-log
    GET /api/keys
    POST /api/keys
    DELETE /api/keys/{id}
    GET /api/auth/me
    GET /api/health
"""

# Documented, and not built in this version.
LATER = """
    GET /api/jobs/{id}/versions
    POST /api/executions/{id}/approve
"""

RESERVED_TASKS = {
    "sql", "ftp", "script", "docker_build", "file_push", "kafka", "kafka_consume",
    "rabbitmq", "rabbitmq_consume", "mqtt", "mqtt_subscribe", "redis", "redis_read", "mcp", "grpc",
    "a2a", "ansible", "workflow",
}  # fmt: skip

# Streams that go both ways: no browser can hold one.
WITHOUT_HTTP = {"Connect", "StreamOutput", "TriggerJobsStream"}


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def rule_of(method: MethodDescriptor) -> HttpRule:
    return method.GetOptions().Extensions[annotations_pb2.http]


def patterns_of(method: MethodDescriptor) -> Iterator[str]:
    """Such as `GET /api/jobs/{job_id}`, one for each binding."""
    rule = rule_of(method)
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        if verb is not None:
            yield f"{verb.upper()} {getattr(each, verb)}"


def paths_of(method: MethodDescriptor) -> Iterator[str]:
    return map(anonymous, patterns_of(method))


def anonymous(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


SERVED = {path for method in METHODS for path in paths_of(method)}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_every_method_says_who_may_call_it_and_where(method: MethodDescriptor) -> None:
    rule = method.GetOptions().Extensions[options_pb2.access]
    assert is_known(rule.permission)
    assert rule.rate_class != options_pb2.RATE_CLASS_UNSPECIFIED
    assert options_pb2.SURFACE_GRPC in rule.exposure
    assert options_pb2.SURFACE_UNSPECIFIED not in rule.exposure


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_a_method_has_an_http_path_exactly_where_it_is_offered_over_http(
    method: MethodDescriptor,
) -> None:
    exposure = method.GetOptions().Extensions[options_pb2.access].exposure
    offered = options_pb2.SURFACE_HTTP in exposure
    assert bool(list(paths_of(method))) == offered
    assert offered == (method.name not in WITHOUT_HTTP)
    if not method.client_streaming:
        assert offered, "unary methods and server streams are for browsers too"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_an_http_path_names_fields_of_its_request(method: MethodDescriptor) -> None:
    for path in re.findall(r"\{([^}]*)\}", " ".join(patterns_of(method))):
        message: Descriptor = method.input_type
        for name in path.split("."):
            field = message.fields_by_name[name]
            message = field.message_type
        assert field.type == field.TYPE_STRING


def test_no_two_methods_share_a_path() -> None:
    every = [path for method in METHODS for path in paths_of(method)]
    assert sorted(every) == sorted(set(every))


@pytest.mark.parametrize("path", lines(DOCUMENTED))
def test_a_documented_path_is_served(path: str) -> None:
    assert anonymous(path) in SERVED


@pytest.mark.parametrize("path", lines(LATER))
def test_what_is_listed_as_later_is_not_served_yet(path: str) -> None:
    assert anonymous(path) not in SERVED


def enums() -> Iterator[EnumDescriptor]:
    seen: dict[str, FileDescriptor] = {}
    waiting = [*SERVICE_FILES, error_reason_pb2.DESCRIPTOR, api_key_pb2.DESCRIPTOR]
    while waiting:
        file = waiting.pop()
        if file.name not in seen and file.package == "kronforce.v1":
            seen[file.name] = file
            waiting += file.dependencies
    for file in seen.values():
        yield from file.enum_types_by_name.values()
        for message in file.message_types_by_name.values():
            yield from message.enum_types


@pytest.mark.parametrize("enum", list(enums()), ids=lambda enum: enum.name)
def test_zero_of_every_enum_is_unspecified(enum: EnumDescriptor) -> None:
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper()
    assert enum.values_by_number[0].name == f"{prefix}_UNSPECIFIED"
    assert all(value.name.startswith(f"{prefix}_") for value in enum.values)


def test_task_types_that_come_later_keep_their_names() -> None:
    proto = descriptor_pb2.DescriptorProto()
    job_pb2.Task.DESCRIPTOR.CopyToProto(proto)
    assert set(proto.reserved_name) >= RESERVED_TASKS
    numbers = {n for span in proto.reserved_range for n in range(span.start, span.end)}
    assert len(numbers) >= len(RESERVED_TASKS)
    assert numbers.isdisjoint(field.number for field in proto.field)


def test_every_request_that_lists_has_the_same_pages() -> None:
    for method in METHODS:
        fields = method.input_type.fields_by_name
        if "page_size" in fields:
            assert "page_token" in fields
            assert "next_page_token" in method.output_type.fields_by_name


# Statements that an agent or a client cannot be written without.
STATED = {
    "agent_service.proto": [
        "`acknowledge` of kind RESULT",
        "within 600 s, or within `timeout_secs` + 60 s",
        "overdraw the credit",
        "SESSION_TAKEN",
        "`lost`/`agent_restarted`",
    ],
    "execution_service.proto": ["unless the server has restarted since", "an empty frame at once"],
    "job.proto": [
        "do not begin with `KRONFORCE_`",
        "years 1970 to 9998",
        "0–31,536,000 (a year)",
        "at most 100\n  // characters",
    ],
    "job_service.proto": ["`status: paused` is resumed", "at most 100 printable characters"],
}


@pytest.mark.parametrize("name", list(STATED))
def test_what_a_stranger_needs_is_stated(name: str) -> None:
    text = (PROTO / "kronforce" / "v1" / name).read_text()
    assert [part for part in STATED[name] if part not in text] == []
