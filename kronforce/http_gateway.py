"""The gateway inside the controller's process: the same chain as gRPC, no wire between."""

from __future__ import annotations

from collections.abc import Mapping

from kronforce.api.chain import Chain
from kronforce.api.local import LocalTransport
from kronforce.api.services import Endpoint
from kronforce.config import CannotStart, Config
from kronforce_gateway.app import Gateway
from kronforce_gateway.listener import CannotListen, Listener


async def serve_http(config: Config, endpoints: Mapping[str, Endpoint], chain: Chain) -> Listener:
    """The listening gateway; its owner stops it. Raises CannotStart. `chain` is HTTP's own."""
    listener = Listener(
        Gateway(LocalTransport(endpoints, chain)),
        bind=config.bind,
        tls_cert=config.tls_cert,
        tls_key=config.tls_key,
    )
    try:
        await listener.start()
    except CannotListen as error:
        raise CannotStart(
            f"cannot serve HTTP on {config.bind}: {error}; choose another address with --bind or"
            " KRONFORCE_BIND (empty: no HTTP)"
        ) from error
    return listener
