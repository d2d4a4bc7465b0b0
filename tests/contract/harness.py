"""A server on a real port over a real store, and both transports to it.

The servicers are given by the test: either ours, or stand-ins made from the
descriptors, so that the chain is tested for methods whose use case does not matter here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from kronforce.api.call import Call
from kronforce.api.chain import Chain
from kronforce.api.forwarded import Forwarders
from kronforce.api.grpc_transport import GrpcTransport
from kronforce.api.identity import Identity
from kronforce.api.in_flight import InFlight, Keeper
from kronforce.api.local import LocalTransport
from kronforce.api.server import Server
from kronforce.api.services import Service, endpoints_of
from kronforce.api.throttle import Throttle
from kronforce.api.transport import Transport
from kronforce.clock import Clock, SystemClock
from kronforce.core.ids import IdSource
from kronforce.security import keys
from kronforce.store import agents as stored_agents
from kronforce.store import keys as stored_keys
from kronforce.store.database import open_database
from kronforce.store.migrate import migrate
from kronforce.store.store import Store
from kronforce.telemetry.calls import CallCounts
from kronforce.v1 import api_key_pb2, options_pb2
from kronforce_gateway.contract import SERVICES

METHODS: dict[str, MethodDescriptor] = {
    f"{service.name}.{method.name}": method for service in SERVICES for method in service.methods
}


class Served:
    """What a test works with."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.new_id = IdSource(clock, random.Random(7))
        self.throttle = Throttle(clock)
        self.identity = Identity(store=store, clock=clock, throttle=self.throttle)
        self.in_flight = InFlight(clock)
        self.keeper = Keeper(identity=self.identity, in_flight=self.in_flight, clock=clock)
        self.counts = CallCounts()
        self.server: Server
        self.channel: grpc.aio.Channel
        self.transports: dict[str, Transport] = {}

    def chain(self, surface: int = options_pb2.SURFACE_GRPC) -> Chain:
        return Chain(
            identity=self.identity,
            in_flight=self.in_flight,
            counts=self.counts,
            clock=self.clock,
            surface=surface,
        )

    async def key(
        self, role: int = api_key_pb2.ROLE_ADMIN, *, name: str = "", **limits: Any
    ) -> dict[str, str]:
        """Make a key; the metadata to call with."""
        secret = keys.new_api_key()
        await self.store.write(
            stored_keys.insert_key,
            id=self.new_id(),
            name=name or f"key {secret.reveal()[-8:]}",
            role=role,
            prefix=keys.shown_prefix(secret),
            hash=keys.hash_of(secret.reveal()),
            allowed_groups=limits.get("groups", ()),
            allowed_networks=limits.get("networks", ()),
            created_at=self.clock.now_us(),
            expires_at=limits.get("expires_at"),
        )
        return bearer(secret.reveal())

    async def credential(self, name: str = "web-1") -> dict[str, str]:
        """Make an agent; the metadata to call with."""
        secret = keys.new_agent_credential()
        await self.store.write(
            stored_agents.insert_agent,
            id=self.new_id(),
            name=name,
            credential_hash=keys.hash_of(secret.reveal()),
            registered_by="test",
            agent_type=1,
            built_in=False,
            tags=(),
            labels={},
            task_types=(),
            facts=b"",
            slots=1,
            now=self.clock.now_us(),
        )
        return bearer(secret.reveal())


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@asynccontextmanager
async def serve(
    folder: Path,
    services: Iterable[Service] | None = None,
    *,
    clock: Clock | None = None,
    trusted: Sequence[str] = (),
) -> AsyncIterator[Served]:
    """Serve on a free port of loopback; by default every method answers with nothing."""
    database = open_database(str(folder / "kronforce.db"))
    migrate(database)
    store = Store(database, clock or SystemClock())
    await store.start()
    served = Served(store, clock or SystemClock())
    endpoints = endpoints_of(services or stand_ins(), loopback=True)
    served.server = Server(
        bind="127.0.0.1:0",
        endpoints=endpoints,
        chain=served.chain(),
        in_flight=served.in_flight,
        tls=None,
        forwarders=Forwarders([ipaddress.ip_network(each) for each in trusted]),
    )
    await served.server.start()
    served.channel = grpc.aio.insecure_channel(served.server.address)
    served.transports = {
        "grpc": GrpcTransport(served.channel),
        "local": LocalTransport(endpoints, served.chain()),
    }
    try:
        yield served
    finally:
        await served.channel.close()
        await served.server.stop(grace=0.5)
        await store.stop()


def stand_ins(**handlers: Any) -> list[Service]:
    """Every service of ours; each method answers with nothing, or as `handlers` says.

    A handler is given by its method's name: `GetJob=async_function(request, call)`.
    """
    return [
        Service(descriptor=service, servicer=_stand_in(service, handlers)) for service in SERVICES
    ]


def _stand_in(service: ServiceDescriptor, handlers: dict[str, Any]) -> object:
    members = {
        method.name: staticmethod(handlers.get(method.name) or _answer(method))
        for method in service.methods
    }
    return type(service.name, (), members)()


def _answer(method: MethodDescriptor) -> Any:
    reply = GetMessageClass(method.output_type)

    async def unary(_request: Any, _call: Call) -> Any:
        return reply()

    async def stream(_request: Any, _call: Call) -> AsyncIterator[Any]:
        yield reply()

    return stream if method.server_streaming else unary


async def first(transport: Transport, method: MethodDescriptor, **options: Any) -> Any:
    """The only or the first reply of a call with an empty request."""
    request = GetMessageClass(method.input_type)()
    if not method.server_streaming:
        return await transport.unary(method, request, timeout=10, **options)
    async with _stream(transport, method, request, options) as replies:
        return await anext(replies)


def _stream(transport: Transport, method: MethodDescriptor, request: Any, options: Any) -> Any:
    if not method.client_streaming:
        return transport.server_stream(method, request, timeout=10, **options)

    async def requests() -> AsyncIterator[Any]:
        yield request

    return transport.bidi(method, requests(), timeout=10, **options)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it holds; the caller bounds it with a timeout."""
    while not condition():  # noqa: ASYNC110 - what is waited for belongs to no event of ours
        await asyncio.sleep(0)
