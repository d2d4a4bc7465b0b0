"""The gateway on a real port, over a chain of HTTP's own and the methods that a test gives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from kronforce.api.call import Call
from kronforce.api.local import LocalTransport
from kronforce.api.services import endpoints_of
from kronforce.v1 import options_pb2
from kronforce.v1.api_key_pb2 import ApiKey
from kronforce.v1.key_service_pb2 import WhoAmIResponse
from kronforce_gateway.app import Gateway
from kronforce_gateway.front.settings import FrontSettings
from kronforce_gateway.listener import Listener
from tests.contract.harness import Served, serve, stand_ins
from tests.fakes.http_reader import Answer, ask


class Rig:
    """`async with rig.get("/api/…") as answer`, with an admin's key unless said otherwise."""

    def __init__(self, served: Served, gateway: Gateway, listener: Listener) -> None:
        self.served = served
        self.gateway = gateway
        self.listener = listener
        self.key: dict[str, str] = {}

    @property
    def port(self) -> int:
        return self.listener.port

    def get(
        self, path: str, *, verb: str = "GET", key: dict[str, str] | None = None, **more: Any
    ) -> AbstractAsyncContextManager[Answer]:
        headers = {**(self.key if key is None else key), **more.pop("headers", {})}
        return ask(self.port, path, verb=verb, headers=headers, **more)


@asynccontextmanager
async def gateway(
    folder: Path, *, front: FrontSettings | None = None, **handlers: Any
) -> AsyncIterator[Rig]:
    """A gateway over stand-ins; a handler is given by its method's name."""
    services = stand_ins(**{"WhoAmI": who_am_i, **handlers})
    async with serve(folder, services) as served:
        transport = LocalTransport(
            endpoints_of(services, loopback=True), served.chain(options_pb2.SURFACE_HTTP)
        )
        app = Gateway(transport, front)
        listener = Listener(app, bind="127.0.0.1:0", on_stop=app.stop)
        await listener.start()
        rig = Rig(served, app, listener)
        rig.key = await served.key()
        try:
            yield rig
        finally:
            await listener.stop()


async def who_am_i(_request: Any, call: Call) -> WhoAmIResponse:
    return WhoAmIResponse(key=ApiKey(id=call.principal.id, name=call.principal.name))
