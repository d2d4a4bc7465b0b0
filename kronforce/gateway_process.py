"""The gateway as a process of its own: the same application, with a gRPC channel to a controller.

It starts whether the controller is there or not, and answers 503 until it is. It keeps nothing:
any number of them may stand before one controller, which has to be told to trust them
(`--trusted-proxies`), or all their callers are one address to it.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import uvloop

from kronforce import __version__
from kronforce.api.grpc_transport import GrpcTransport, open_channel
from kronforce.clock import Clock, SystemClock
from kronforce.config import CannotStart, Config, is_loopback
from kronforce.http_gateway import front_settings, listen, mcp_of, url_of
from kronforce.security import tls
from kronforce.stopping import stop_on_signals
from kronforce.telemetry import logs
from kronforce_gateway.app import Gateway
from kronforce_gateway.listener import Listener

log = logs.logger("gateway")


@dataclass(frozen=True, kw_only=True)
class Remote:
    """The controller that it calls: `host:port`, and how its certificate is checked."""

    address: str
    # Who must have signed its certificate, PEM; None: whom this host trusts.
    ca_file: Path | None = None
    # Calls beyond this machine without TLS.
    insecure: bool = False

    @property
    def tls(self) -> bool:
        """Always but on this machine without a CA, unless it was told not to."""
        return not self.insecure and (self.ca_file is not None or not is_loopback(self.address))


def run(config: Config, remote: Remote) -> None:
    """Serve until SIGTERM or SIGINT. Raises CannotStart."""
    logs.configure(config.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, remote))


async def _serve(config: Config, remote: Remote) -> None:
    stop = stop_on_signals()
    async with AsyncExitStack() as stack:
        listener = await gateway(stack, config, remote, SystemClock())
        log.info("serving", action="gateway.started", url=url_of(config, listener),
                 controller=remote.address, version=__version__)  # fmt: skip
        await stop.wait()
        log.info("stopping", action="gateway.stopping")
    log.info("stopped", action="gateway.stopped")


async def gateway(stack: AsyncExitStack, config: Config, remote: Remote, clock: Clock) -> Listener:
    """A listening gateway, until the stack is closed. Raises CannotStart."""
    if not config.bind:
        raise CannotStart("a gateway without HTTP is none: give it an address with --bind")
    # What is wrong with the port's own certificate is said by name.
    tls.load(config.tls_cert, config.tls_key)
    channel = open_channel(remote.address, tls=remote.tls, ca_pem=_ca_of(remote))
    stack.push_async_callback(channel.close)
    transport = GrpcTransport(channel, surface="http")
    mcp = mcp_of(config, GrpcTransport(channel, surface="mcp"))
    made = Gateway(
        transport,
        front_settings(config),
        mcp=mcp,
        monotonic=clock.monotonic,
        metrics=lambda: _metrics(made),
    )
    listener = await listen(config, made, clock)
    stack.push_async_callback(listener.stop)
    return listener


async def _metrics(made: Gateway) -> bytes:
    """What it counts itself, and its process; the rest is the controller's to say."""
    # What nobody asked for costs no time at start.
    from prometheus_client.process_collector import ProcessCollector  # noqa: PLC0415

    from kronforce.telemetry.metrics import http_families, render  # noqa: PLC0415

    return render(http_families(made.counts), ProcessCollector(registry=None).collect())


def _ca_of(remote: Remote) -> bytes | None:
    if remote.ca_file is None:
        return None
    try:
        # Whether it is whole is said here, by name, and not by grpc.
        ssl.create_default_context(cafile=remote.ca_file)
        return remote.ca_file.read_bytes()
    except ssl.SSLError as error:
        raise CannotStart(f"{remote.ca_file} holds no certificate (PEM): {error.reason}") from error
    except OSError as error:
        raise CannotStart(f"cannot read the CA file {remote.ca_file}: {error.strerror}") from error
