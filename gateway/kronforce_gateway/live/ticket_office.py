"""`POST /api/stream-tickets {"path"}`: a ticket for one of the streams that are served here."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import orjson

from kronforce.v1 import options_pb2
from kronforce_client.dialect import DialectError, Problem, loads
from kronforce_gateway import failures, requests
from kronforce_gateway.browser.callers import Callers
from kronforce_gateway.calls import Receive, Scope, Send, peer_of, read_body, respond
from kronforce_gateway.failures import Failure
from kronforce_gateway.front.passage import admit, headers_of
from kronforce_gateway.live.tickets import TICKET_SECS, Tickets, stream_of

PATH = "/api/stream-tickets"

# A path with its query; longer ones are no stream's.
MAX_BODY = 16 << 10


class TicketOffice:
    """`is_stream` says whether a path is one that tickets are for."""

    def __init__(
        self, callers: Callers, tickets: Tickets, is_stream: Callable[[str], bool]
    ) -> None:
        self._callers = callers
        self._tickets = tickets
        self._is_stream = is_stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises Failure."""
        if scope["method"] != "POST":
            raise failures.wrong_verb(scope["method"], scope["path"], ["POST"])
        admit(scope, PATH, options_pb2.RATE_CLASS_AUTHENTICATED)
        headers = headers_of(scope)
        path, _, query = _path_in(await read_body(headers, receive, MAX_BODY)).partition("?")
        metadata = requests.forwarded(headers)
        session = self._callers.lend(scope, headers, metadata)
        await self._callers.who(metadata, peer_of(scope))
        if not self._is_stream(path):
            raise _wrong(f'"{path[:200]}" is no stream; such as /api/runs/{{id}}/watch')
        made = self._tickets.make(stream_of(path.encode(), query.encode()), metadata, session)
        answer = {
            "ticket": made,
            "url": f"{path}?{query + '&' if query else ''}ticket={made}",
            "expires_in_secs": int(TICKET_SECS),
        }
        await respond(send, HTTPStatus.CREATED, orjson.dumps(answer), {})


def _path_in(body: bytes) -> str:
    try:
        document = loads(body or b"{}")
    except DialectError as error:
        raise failures.of_document(error) from None
    path = document.get("path") if isinstance(document, dict) else None
    if not isinstance(path, str) or not path.startswith("/") or not path.isascii():
        raise _wrong('is required: {"path": "/api/runs/…/watch?include_output=true"}')
    return path


def _wrong(message: str) -> Failure:
    return failures.of_document(DialectError([Problem(path=("path",), message=message)]))
