"""The access rule of every served method, read from the contract at start.

Deny by default: a method of ours without a complete `(kronforce.v1.access)`
option, or with a permission that no role knows, keeps the server from
starting. What is not ours (health, reflection, channelz) has its rule in a
fixed table here; any other foreign service is refused too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from kronforce.core import access as core_access
from kronforce.core.access import Role
from kronforce.v1 import api_key_pb2, options_pb2

OURS = "kronforce.v1."

ROLES: dict[int, Role] = {
    api_key_pb2.ROLE_VIEWER: Role.VIEWER,
    api_key_pb2.ROLE_OPERATOR: Role.OPERATOR,
    api_key_pb2.ROLE_ADMIN: Role.ADMIN,
    api_key_pb2.ROLE_AGENT: Role.AGENT,
}

ANY_KEY = "self.read"

# Whoever enrols needs no key here; the use case asks for one, or for a token.
ENROL = "/kronforce.v1.AgentService/RegisterAgent"

HEALTH = "grpc.health.v1.Health"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
CHANNELZ = "grpc.channelz.v1.Channelz"


class MissingRule(Exception):
    """A served method has no complete access rule; the message names it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """What the chain knows of a method."""

    # `/kronforce.v1.JobService/TriggerJob`
    name: str
    permission: str
    audited: bool
    surfaces: frozenset[int]
    client_streaming: bool
    server_streaming: bool
    # A number of `kronforce.v1.RateClass`; 0, of what is not ours: never limited.
    rate_class: int = 0
    # The field of the request that is a resource to save; violations name the fields in it.
    body: str = ""

    @property
    def streaming(self) -> bool:
        return self.client_streaming or self.server_streaming

    @property
    def open_to_agents(self) -> bool:
        """Whether agents on this host may call it without a key, where that is allowed."""
        return self.permission in core_access.OPEN_TO_AGENTS or self.name == ENROL

    @property
    def public(self) -> bool:
        return self.permission == core_access.PUBLIC


def foreign_rules(*, loopback: bool) -> dict[str, str]:
    """The permission of each foreign service that may be served."""
    reflection = core_access.PUBLIC if loopback else ANY_KEY
    return {
        HEALTH: core_access.PUBLIC,
        **dict.fromkeys(REFLECTION, reflection),
        CHANNELZ: "system.admin",
    }


def methods_of(services: Iterable[ServiceDescriptor], *, loopback: bool) -> dict[str, Method]:
    """The rules by full method name. Raises MissingRule for the first method without one."""
    foreign = foreign_rules(loopback=loopback)
    found: dict[str, Method] = {}
    for service in services:
        for descriptor in service.methods:
            method = _method(service, descriptor, foreign)
            found[method.name] = method
    return found


def _method(
    service: ServiceDescriptor, descriptor: MethodDescriptor, foreign: dict[str, str]
) -> Method:
    if service.full_name.startswith(OURS):
        return _own(full_name(descriptor), descriptor)
    permission = foreign.get(service.full_name)
    if permission is None:
        raise MissingRule(f"{service.full_name} is not ours and has no fixed access rule")
    return Method(
        name=full_name(descriptor),
        permission=permission,
        audited=False,
        surfaces=frozenset({options_pb2.SURFACE_GRPC}),
        client_streaming=descriptor.client_streaming,
        server_streaming=descriptor.server_streaming,
    )


def _own(name: str, descriptor: MethodDescriptor) -> Method:
    options: Any = descriptor.GetOptions()
    if not options.HasExtension(options_pb2.access):
        raise MissingRule(f"{name} has no (kronforce.v1.access) option")
    rule = options.Extensions[options_pb2.access]
    if not core_access.is_known(rule.permission):
        raise MissingRule(f"{name} asks for the permission {rule.permission!r}, which nobody has")
    if rule.rate_class == options_pb2.RATE_CLASS_UNSPECIFIED:
        raise MissingRule(f"{name} has no rate_class in its access rule")
    if not rule.exposure or options_pb2.SURFACE_UNSPECIFIED in rule.exposure:
        raise MissingRule(f"{name} names no surface in the exposure of its access rule")
    return Method(
        name=name,
        permission=rule.permission,
        audited=rule.audited,
        surfaces=frozenset(rule.exposure),
        client_streaming=descriptor.client_streaming,
        server_streaming=descriptor.server_streaming,
        rate_class=rule.rate_class,
        body=options.Extensions[annotations_pb2.http].body.removeprefix("*"),
    )


def full_name(descriptor: MethodDescriptor) -> str:
    """`/package.Service/Method`, as it stands on the wire."""
    return f"/{descriptor.containing_service.full_name}/{descriptor.name}"
