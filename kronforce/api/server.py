"""The gRPC server: its options, its port, what it serves beside our services, its end.

Health, reflection (v1 and v1alpha) and channelz stand behind the same chain as
everything else. Stopping refuses new calls first, then ends the streams,
because `stop` would wait out its grace for them, and lets short calls finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_channelz.v1._async import ChannelzServicer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import aio as reflection_aio

from kronforce.api.access import methods_of
from kronforce.api.chain import MAX_MESSAGE_BYTES, Chain
from kronforce.api.forwarded import Forwarders
from kronforce.api.grpc_edge import generic_handlers, wrap_foreign
from kronforce.api.in_flight import InFlight
from kronforce.api.services import Endpoint
from kronforce.config import CannotStart, is_loopback, local_address
from kronforce.errors import Unavailable
from kronforce.security.tls import Tls

# Calls under way when a stop begins get this long; streams are ended at once.
STOP_GRACE_SECS = 3.0

# Keys are below 100 bytes and trace headers below 1 KiB.
MAX_METADATA_BYTES = 16 * 1024
# Of one connection: an agent needs 2, a gateway one per browser.
MAX_STREAMS_PER_CONNECTION = 1_000
# Of a stream: enough for 400 MB/s of output from an agent 10 ms away.
WINDOW_BYTES = 4 << 20

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Replies are pages and frames of ours; a job with an 8 MB script comes back whole.
    ("grpc.max_send_message_length", 4 * MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
    # A second server on the port must fail, not share it.
    ("grpc.so_reuseport", 0),
    # Agents and watchers behind NAT ping every 10 s, also between calls.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 9_000),
    ("grpc.http2.max_ping_strikes", 2),
    # A peer that vanished without a word is noticed within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Also where gRPC's own ping was on its way, while which it sends no other.
    ("grpc.http2.ping_timeout_ms", 30_000),
    # Windows of 4 MiB from the start. By itself gRPC has them where it measures the path, with a
    # ping where data comes in: with thousands of agents that say little, one for each heartbeat.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
    ("grpc.http2.max_frame_size", WINDOW_BYTES),
    ("grpc.enable_channelz", 1),
)

REFLECTION_V1 = "grpc.reflection.v1"
REFLECTION_V1ALPHA = "grpc.reflection.v1alpha"


class Server:
    """One listening port. `start`, then `stop`."""

    def __init__(
        self,
        *,
        bind: str,
        endpoints: Mapping[str, Endpoint],
        chain: Chain,
        in_flight: InFlight,
        tls: Tls | None,
        forwarders: Forwarders | None = None,
    ) -> None:
        # For callers in this process, who pass the same chain.
        self.endpoints = endpoints
        self.chain = chain
        self._in_flight = in_flight
        self._bind = bind
        self._tls = tls
        self._server = grpc.aio.server(options=OPTIONS)
        self._health = health_aio.HealthServicer()
        self._services = sorted({name[1:].partition("/")[0] for name in endpoints})
        self._server.add_generic_rpc_handlers(
            generic_handlers(endpoints, chain, forwarders or Forwarders(()))
        )
        self._add_foreign(chain)
        self.port = 0

    @property
    def address(self) -> str:
        """Where it listens, for a client on this host; the port is known once it has started."""
        return local_address(self._bind, self.port)

    async def start(self) -> None:
        """Listen. Raises CannotStart if the port cannot be had."""
        try:
            if self._tls is None:
                self.port = self._server.add_insecure_port(self._bind)
            else:
                self.port = self._server.add_secure_port(self._bind, _credentials(self._tls))
        except RuntimeError as error:
            raise CannotStart(why_not_bound(self._bind)) from error
        await self._server.start()
        for service in self._services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float = STOP_GRACE_SECS) -> None:
        """Refuse new calls, end the streams, wait for the rest up to `grace` seconds."""
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._server.stop(grace))
        # One turn, so that the server refuses before the streams' clients come back.
        await asyncio.sleep(0)
        self._in_flight.end_streams(
            Unavailable("the server is stopping; connect again in a moment")
        )
        await stopping

    def _add_foreign(self, chain: Chain) -> None:
        collected: Any = _Collector()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, collected)
        channelz_pb2_grpc.add_ChannelzServicer_to_server(ChannelzServicer(), collected)
        reflection = reflection_aio.ReflectionServicer([*self._services, *_FOREIGN_NAMES])
        add_reflection: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
        add_reflection(reflection, collected)
        alpha = collected.handlers[f"{REFLECTION_V1ALPHA}.ServerReflection"]
        collected.handlers[f"{REFLECTION_V1}.ServerReflection"] = alpha
        rules = methods_of(foreign_descriptors(), loopback=is_loopback(self._bind))
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    service,
                    {
                        name: wrap_foreign(handler, rules[f"/{service}/{name}"], chain)
                        for name, handler in handlers.items()
                    },
                )
                for service, handlers in collected.handlers.items()
            ]
        )


class _Collector:
    """Stands in for a server: generated code adds its handlers here."""

    def __init__(self) -> None:
        self.handlers: dict[str, Mapping[str, Any]] = {}

    def add_generic_rpc_handlers(self, _handlers: Sequence[Any]) -> None:
        """The same handlers as below, wrapped already."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.handlers[service] = handlers


_FOREIGN_NAMES = (
    "grpc.channelz.v1.Channelz",
    "grpc.health.v1.Health",
    f"{REFLECTION_V1}.ServerReflection",
    f"{REFLECTION_V1ALPHA}.ServerReflection",
)


def foreign_descriptors() -> list[ServiceDescriptor]:
    """The services that are served beside ours."""
    # The stubs give upb's class here and the pure one elsewhere; at run time they are the same.
    shipped: Any = [
        channelz_pb2.DESCRIPTOR.services_by_name["Channelz"],
        health_pb2.DESCRIPTOR.services_by_name["Health"],
        reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
    ]
    return [*shipped, _reflection_v1()]


def _reflection_v1() -> ServiceDescriptor:
    """v1 of reflection is v1alpha under another package name; the package ships only the latter."""
    pool = descriptor_pool.Default()
    name = f"{REFLECTION_V1}.ServerReflection"
    try:
        return pool.FindServiceByName(name)
    except KeyError:
        text = reflection_pb2.DESCRIPTOR.serialized_pb
    file = descriptor_pb2.FileDescriptorProto.FromString(text)
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = REFLECTION_V1
    for message in file.message_type:
        for field in filter(lambda field: field.type_name, message.field):
            field.type_name = field.type_name.replace(REFLECTION_V1ALPHA, REFLECTION_V1)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(REFLECTION_V1ALPHA, REFLECTION_V1)
        method.output_type = method.output_type.replace(REFLECTION_V1ALPHA, REFLECTION_V1)
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName(name)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials([(tls.key, tls.certificate)])


def why_not_bound(bind: str) -> str:
    """One sentence with the way out."""
    port = bind.rpartition(":")[2]
    return (
        f"cannot listen on {bind}: the port is taken or the address is not this machine's;"
        f" stop what holds it (ss -ltnp 'sport = :{port}'), or choose another with"
        " --grpc-bind 127.0.0.1:0 or KRONFORCE_GRPC_BIND"
    )
