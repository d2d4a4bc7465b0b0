"""The gateway, put together: what is served where. Start reading here."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from kronforce.api.transport import Transport
from kronforce_gateway.browser import page
from kronforce_gateway.browser.callers import Callers
from kronforce_gateway.browser.sessions import Sessions
from kronforce_gateway.browser.signing_in import SigningIn
from kronforce_gateway.calls import Api, Receive, Scope, Send
from kronforce_gateway.contract import SERVICES
from kronforce_gateway.front import about, health, scrape
from kronforce_gateway.front.counts import HttpCounts
from kronforce_gateway.front.front import App, Front
from kronforce_gateway.front.scrape import Text
from kronforce_gateway.front.settings import FrontSettings
from kronforce_gateway.live.streams import Streams
from kronforce_gateway.live.ticket_office import TicketOffice
from kronforce_gateway.live.tickets import Tickets
from kronforce_gateway.mcp import endpoint
from kronforce_gateway.mcp.endpoint import Mcp
from kronforce_gateway.reference import FILES
from kronforce_gateway.static_files import StaticFiles


class Gateway:
    """The ASGI application. It calls everything through the transport.

    `key_file` is where the admin's key of this host lies, for the sign-in page to say so.
    """

    def __init__(
        self,
        transport: Transport,
        front: FrontSettings | None = None,
        *,
        mcp: Mcp | None = None,
        key_file: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        metrics: Text | None = None,
    ) -> None:
        front = front or FrontSettings()
        self._mcp = mcp
        self.sessions = Sessions(monotonic)
        callers = Callers(self.sessions, transport, public_url=front.public_url)
        tickets = Tickets(monotonic)
        self._streams = Streams(transport, callers, tickets)
        self._api = Api(transport, SERVICES, callers=callers, streams=self._streams.answer)
        files = StaticFiles({**FILES, **page.FILES})
        self._front = Front(
            self._serve, front, monotonic=monotonic, session_key=callers.authorization
        )
        signing_in = SigningIn(callers, key_file=key_file)
        # By path: what is no method of the contract.
        self._at: dict[str, App] = {
            **dict.fromkeys(files.paths, files),
            endpoint.PATH: mcp or endpoint.switched_off,
            "/api/auth/session": signing_in.session,
            "/api/auth/logout": signing_in.logout,
            health.PATH: health.Health(transport, version=front.version),
            about.PATH: about.About(front, self._features),
            "/api/stream-tickets": TicketOffice(callers, tickets, self._api.is_stream),
        }
        if metrics is not None:
            self._at[scrape.PATH] = scrape.Scrape(
                transport, metrics, local=front.local, public=front.metrics_public
            )

    @property
    def counts(self) -> HttpCounts:
        """What was asked and how it ended."""
        return self._front.counts

    @property
    def readers(self) -> int:
        """Streams that are being read."""
        return self._streams.readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._front(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same for one that has come through the door."""
        await self._at.get(scope["path"], self._api)(scope, receive, send)

    async def stop(self) -> None:
        """End what would not end by itself; new calls are still answered."""
        self._streams.stop()
        if self._mcp is not None:
            await self._mcp.stop()

    def _features(self) -> dict[str, bool]:
        """What is served here that not every gateway serves."""
        return {
            "mcp_enabled": self._mcp is not None,
            "oidc_enabled": self._api.serves("GET", "/api/auth/oidc/login"),
        }
