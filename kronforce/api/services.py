"""What is served: each service of the contract with the object that implements it.

Turns generated base classes into plain handlers: a method that the servicer
does not override answers UNIMPLEMENTED instead of running the generated body,
which expects a grpc context.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kronforce.api.access import Method, full_name, methods_of
from kronforce.api.call import Call
from kronforce.errors import Unimplemented


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A service of ours and its servicer."""

    descriptor: ServiceDescriptor
    servicer: object


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One served method: its rule, its handler, and the messages it takes and gives."""

    rule: Method
    handler: Any
    request_class: type[Message]
    reply_class: type[Message]


def endpoints_of(services: Iterable[Service], *, loopback: bool) -> Mapping[str, Endpoint]:
    """By full method name. Raises MissingRule."""
    services = list(services)
    rules = methods_of([service.descriptor for service in services], loopback=loopback)
    return {
        full_name(method): Endpoint(
            rule=rules[full_name(method)],
            handler=_handler(service.servicer, method),
            request_class=GetMessageClass(method.input_type),
            reply_class=GetMessageClass(method.output_type),
        )
        for service in services
        for method in service.descriptor.methods
    }


def _handler(servicer: object, method: MethodDescriptor) -> Any:
    own = getattr(type(servicer), method.name, None)
    if own is not None and not own.__module__.endswith("_pb2_grpc"):
        return getattr(servicer, method.name)
    return _unimplemented_stream if method.server_streaming else _unimplemented


async def _unimplemented(_request: Any, call: Call) -> Message:
    raise Unimplemented(f"{call.method} is not built yet in this version")


async def _unimplemented_stream(request: Any, call: Call) -> AsyncGenerator[Message, None]:
    yield await _unimplemented(request, call)
