"""The gateway inside the controller's process: the same chain as gRPC, no wire between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from kronforce import __version__
from kronforce.api.chain import Chain
from kronforce.api.local import LocalTransport
from kronforce.api.services import Endpoint
from kronforce.api.transport import Transport
from kronforce.clock import Clock
from kronforce.config import CannotStart, Config, is_loopback, local_address
from kronforce.first_start import ADMIN_KEY
from kronforce.metrics_source import MetricsSource
from kronforce.v1 import options_pb2
from kronforce_gateway.app import Gateway
from kronforce_gateway.contract import SERVICES
from kronforce_gateway.front.hosts import LOCAL_NAMES
from kronforce_gateway.front.settings import FrontSettings
from kronforce_gateway.listener import CannotListen, Listener
from kronforce_gateway.mcp.endpoint import Mcp


async def serve_http(
    config: Config,
    endpoints: Mapping[str, Endpoint],
    chain: Callable[..., Chain],
    clock: Clock,
    metrics: MetricsSource,
) -> Listener:
    """The listening gateway; its owner stops it. Raises CannotStart.

    `chain` makes one for a surface: HTTP calls and those of AI clients come two ways.
    """
    transport = LocalTransport(endpoints, chain(surface=options_pb2.SURFACE_HTTP))
    for_mcp = LocalTransport(endpoints, chain(surface=options_pb2.SURFACE_MCP))
    gateway = Gateway(
        transport,
        front_settings(config),
        key_file=config.data_dir / ADMIN_KEY,
        mcp=mcp_of(config, for_mcp),
        monotonic=clock.monotonic,
        metrics=metrics.text,
    )
    metrics.http = gateway.counts
    return await listen(config, gateway, clock)


def mcp_of(config: Config, transport: Transport) -> Mcp | None:
    """The MCP adapter over a transport of its own, unless it is switched off."""
    if not config.mcp_enabled:
        return None
    return Mcp(transport, SERVICES, version=__version__, allowed_hosts=_own_names(config))


async def listen(config: Config, gateway: Gateway, clock: Clock) -> Listener:
    """The port of a gateway that is there. Raises CannotStart."""
    listener = Listener(
        gateway,
        bind=config.bind,
        tls_cert=config.tls_cert,
        tls_key=config.tls_key,
        monotonic=clock.monotonic,
        on_stop=gateway.stop,
    )
    try:
        await listener.start()
    except CannotListen as error:
        raise CannotStart(
            f"cannot serve HTTP on {config.bind}: {error}; choose another address with --bind or"
            " KRONFORCE_BIND (empty: no HTTP)"
        ) from error
    return listener


def url_of(config: Config, listener: Listener) -> str:
    """Where a client on this host reaches it, once it listens."""
    scheme = "http" if config.tls_cert is None else "https"
    return f"{scheme}://{local_address(config.bind, listener.port)}"


def front_settings(config: Config) -> FrontSettings:
    """What the door is told."""
    limits: dict[int, int] = {
        options_pb2.RATE_CLASS_PUBLIC: config.rate_limit_public,
        options_pb2.RATE_CLASS_AUTHENTICATED: config.rate_limit_authenticated,
        options_pb2.RATE_CLASS_AGENT: config.rate_limit_agent,
    }
    return FrontSettings(
        rate_limits=limits if config.rate_limit_enabled else {},
        trusted_proxies=config.trusted_proxies,
        allowed_hosts=_allowed_hosts(config),
        local=is_loopback(config.bind),
        metrics_public=config.metrics_public,
        version=__version__,
        public_url=config.public_url,
    )


def _allowed_hosts(config: Config) -> frozenset[str] | None:
    """On loopback only what is ours; elsewhere any name, unless some are given."""
    named = set(config.allowed_hosts)
    if not named and not is_loopback(config.bind):
        return None
    own = config.bind.rpartition(":")[0].strip("[]").lower()
    return frozenset({*LOCAL_NAMES, own, *_own_names(config)})


def _own_names(config: Config) -> frozenset[str]:
    """Names that an operator has given the gateway."""
    public = urlsplit(config.public_url).hostname
    return frozenset({*config.allowed_hosts, *([public] if public else [])})
