"""Streaming methods over HTTP: events for whoever asks for them, output as it is for the rest.

Which it is: a path that ends in `/watch`, a POST, or `Accept: text/event-stream` gives events;
`ReadOutput` without them is a download. A failure before the first byte is an answer like any
other; a later one is the event `failed`. A stream that has ended says so with the event `end`,
whose id sends a browser that connects again away with 204. A reader that leaves ends the call
behind it at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_plus

import orjson
from google.protobuf.message import Message

from kronforce.api.transport import CallFailed, Replies, Transport
from kronforce.v1.execution_service_pb2 import ReadOutputRequest
from kronforce_gateway import failures, requests
from kronforce_gateway.bindings import Binding
from kronforce_gateway.browser.callers import Callers
from kronforce_gateway.browser.sessions import Session
from kronforce_gateway.calls import MAX_STRANGERS_BODY, peer_of, read_body
from kronforce_gateway.failures import Failure
from kronforce_gateway.front.passage import admit, headers_of
from kronforce_gateway.live import download, wire
from kronforce_gateway.live.connection import (
    STALL_SECS,
    Connection,
    Receive,
    Scope,
    Send,
    Stalled,
    until_gone,
)
from kronforce_gateway.live.encoders import (
    ENDED,
    Encoder,
    Output,
    Place,
    UnknownPlace,
    encoder_of,
)
from kronforce_gateway.live.feeds import Feeds
from kronforce_gateway.live.following import Follower
from kronforce_gateway.live.tickets import Tickets, stream_of
from kronforce_gateway.routes import Found

# A refusal comes within this, and is an answer of its own; a stream that is quiet begins after it.
HEAD_WAIT_SECS = 0.5

# What a reader gets to take the end when the gateway stops.
STOP_WAIT_SECS = 0.5

# Beyond it a reader is sent away; each costs a call, a connection and some buffers.
MAX_READERS = 10_000

# nginx would gather events.
_HEADERS = {b"x-accel-buffering": b"no"}
# Of the query: the gateway's own, not the method's.
_WORDS = {"encoding": ("text", "base64"), "download": ("true", "false", "1", "0")}
_OWN = {b"ticket", b"last_event_id", b"encoding", b"download"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What one reader asks for."""

    binding: Binding
    request: Any
    metadata: Mapping[str, str]
    peer: str
    encoder: Encoder | None
    options: Mapping[str, str]
    head_only: bool


class Streams:
    """Serves the contract's streaming methods."""

    def __init__(
        self,
        transport: Transport,
        callers: Callers,
        tickets: Tickets,
        *,
        max_readers: int = MAX_READERS,
    ) -> None:
        self._transport = transport
        self._callers = callers
        self._tickets = tickets
        self._feeds = Feeds()
        self._max_readers = max_readers
        self._readers: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def readers(self) -> int:
        """How many streams are being read."""
        return len(self._readers)

    def stop(self) -> None:
        """End every stream; readers are told to come back."""
        self._stopping = True
        for reader in self._readers:
            reader.cancel()

    async def answer(
        self, found: Found[Binding], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a route of a streaming method. Raises Failure where there is no stream."""
        headers = headers_of(scope)
        admit(scope, found.target.path, found.target.rate_class)
        body = await read_body(headers, receive) if found.target.body else b""
        metadata: Mapping[str, str] = requests.forwarded(headers)
        try:
            metadata, session = self._caller(scope, headers)
            if len(body) > MAX_STRANGERS_BODY:
                await self._callers.who(metadata, peer_of(scope))
            wanted = wanted_of(found, scope, headers, body, metadata)
        except NothingFollows:
            await _nothing(send)
        except Failure as failure:
            # As over gRPC: what is wrong with a request is told to whoever may call at all.
            if failure.status == HTTPStatus.BAD_REQUEST:
                await self._callers.who(metadata, peer_of(scope))
            raise
        else:
            await self.serve(wanted, scope, receive, send, session)

    def _caller(
        self, scope: Scope, headers: Mapping[bytes, bytes]
    ) -> tuple[Mapping[str, str], Session | None]:
        """What the call is made with: a ticket's key, the header's, or a session's."""
        options, query = split_query(scope["query_string"])
        if "ticket" in options:
            return self._redeem(options["ticket"], stream_of(scope["raw_path"], query))
        metadata = requests.forwarded(headers)
        return metadata, self._callers.lend(scope, headers, metadata)

    def _redeem(self, secret: str, stream: bytes) -> tuple[Mapping[str, str], Session | None]:
        ticket = self._tickets.take(secret)
        if ticket is None or (ticket.session and not self._callers.sessions.left(ticket.session)):
            # Spent, or never made: an EventSource that comes back by itself stops at 204.
            raise NothingFollows
        if ticket.stream != stream:
            raise Failure(
                status=HTTPStatus.FORBIDDEN,
                error="the ticket is for another stream; each is for one path and query, once",
                reason="WRONG_TICKET",
            )
        return ticket.metadata, ticket.session

    async def serve(
        self,
        wanted: Wanted,
        scope: Scope,
        receive: Receive,
        send: Send,
        session: Session | None = None,
    ) -> None:
        """Write the stream until it ends or its reader leaves. Raises Failure before that."""
        if self._stopping:
            raise _unavailable("the gateway is stopping; connect again in a moment")
        if len(self._readers) >= self._max_readers:
            raise _unavailable(f"{self._max_readers:,} streams are read already; try again later")
        connection = Connection(scope, send, stall_secs=STALL_SECS)
        reader = asyncio.create_task(self._write(wanted, connection), name="stream")
        gone = asyncio.create_task(until_gone(receive), name="stream-gone")
        self._readers.add(reader)
        try:
            with self._tied(session, reader):
                await asyncio.wait({reader, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left = gone.done()
            self._readers.discard(reader)
            for task in (reader, gone):
                task.cancel()
            await asyncio.gather(reader, gone, return_exceptions=True)
        if not left:
            await self._finish(reader, connection)

    @contextmanager
    def _tied(self, session: Session | None, reader: asyncio.Task[None]) -> Iterator[None]:
        """End the stream with the session that opened it."""
        if session is None:
            yield
            return
        session.streams.add(reader.cancel)
        timer = asyncio.get_running_loop().call_later(
            self._callers.sessions.left(session), self._callers.sessions.end, session
        )
        try:
            yield
        finally:
            timer.cancel()
            session.streams.discard(reader.cancel)

    async def _finish(self, reader: asyncio.Task[None], connection: Connection) -> None:
        if not reader.cancelled():
            with suppress(Stalled):
                reader.result()
        elif connection.begun:
            with suppress(Stalled):
                await connection.end(within=STOP_WAIT_SECS)
        else:
            raise _unavailable("the gateway is stopping; connect again in a moment")

    async def _write(self, wanted: Wanted, connection: Connection) -> None:
        try:
            if isinstance(wanted.encoder, Output) and wanted.request.follow:
                await self._follow(wanted, wanted.encoder, connection)
                return
            async with self._open(wanted, wanted.request) as replies:
                await _pass_on(wanted, replies, connection)
        except CallFailed as failed:
            if not connection.begun:
                raise failures.of_call(failed) from failed
            await _tell(failed, wanted, connection)

    def _open(self, wanted: Wanted, request: Message) -> Replies:
        return self._transport.server_stream(
            wanted.binding.method, request, metadata=wanted.metadata, peer=wanted.peer
        )

    async def _follow(self, wanted: Wanted, encoder: Output, connection: Connection) -> None:
        """Output that goes on: together with whoever else reads it with this key."""
        request, start = wanted.request, encoder.place

        def open_at(place: Place) -> Replies:
            begun = ReadOutputRequest()
            begun.CopyFrom(request)
            begun.stdout_offset, begun.stderr_offset = place
            return self._open(wanted, begun)

        # What a peer may see is asked for each; the rest of the metadata changes nothing of it.
        who = wanted.metadata.get("authorization", ""), wanted.peer
        key = (*who, request.execution_id, request.stream, encoder.base64)
        async with self._feeds.joined(key, lambda: open_at(start), encoder) as (feed, cursor):
            await feed.begun(HEAD_WAIT_SECS)
            if feed.failure is not None and not feed.next:
                raise feed.failure
            await connection.begin(wire.CONTENT_TYPE, _HEADERS)
            if not wanted.head_only:
                await connection.write([wire.BEGIN])
                follower = Follower(connection, open_at, start=start, base64=encoder.base64)
                await follower.follow(feed, cursor)
                done = Output(start=follower.place)
                await connection.write([ended(done)])
            await connection.end()


async def _pass_on(wanted: Wanted, replies: AsyncIterator[Message], connection: Connection) -> None:
    first = asyncio.ensure_future(_next(replies))
    try:
        await asyncio.wait({first}, timeout=HEAD_WAIT_SECS)
        if first.done():
            first.result()
        if wanted.encoder is None:
            await download.send(
                wanted.options, _file_name(wanted), _from(first, replies), connection,
                head_only=wanted.head_only,
            )  # fmt: skip
        else:
            await _events(wanted, wanted.encoder, _from(first, replies), connection)
    finally:
        first.cancel()


async def _events(
    wanted: Wanted, encoder: Encoder, replies: AsyncIterator[Message], connection: Connection
) -> None:
    await connection.begin(wire.CONTENT_TYPE, _HEADERS)
    if not wanted.head_only:
        await connection.write([wire.BEGIN])
        async for reply in replies:
            await connection.write(encoder.frame(reply) or [wire.HEARTBEAT])
        await connection.write([*encoder.rest(), ended(encoder)])
    await connection.end()


def _file_name(wanted: Wanted) -> str:
    """Of a download; an execution's id has nothing that a header could not hold."""
    id_: str = getattr(wanted.request, "execution_id", "")
    return f"execution-{''.join(c for c in id_ if c.isalnum() or c == '-')}"


def ended(encoder: Encoder) -> bytes:
    """The event that says that nothing follows."""
    return wire.event("end", b"{}", encoder.last_id() + ENDED)


async def _tell(failed: CallFailed, wanted: Wanted, connection: Connection) -> None:
    """Say what went wrong, to whom it can be said; a browser connects again by itself."""
    if wanted.encoder is not None:
        body = orjson.loads(failures.of_call(failed).body())
        await connection.write([wire.event("failed", orjson.dumps(body))])
        await connection.end()
    else:
        # A download that just ended would look whole.
        await connection.cut()


async def _next(replies: AsyncIterator[Message]) -> Message | None:
    return await anext(replies, None)


async def _from(
    first: asyncio.Future[Message | None], replies: AsyncIterator[Message]
) -> AsyncIterator[Message]:
    reply = await first
    if reply is not None:
        yield reply
        async for each in replies:
            yield each


def wanted_of(
    found: Found[Binding],
    scope: Scope,
    headers: Mapping[bytes, bytes],
    body: bytes,
    metadata: Mapping[str, str],
) -> Wanted:
    """What a request asks for. Raises Failure or NothingFollows."""
    binding = found.target
    options, query = split_query(scope["query_string"])
    _check(options)
    as_events = _wants_events(binding, headers)
    request: Any = requests.read_request(binding, found.values, query, body)
    encoder = None
    if "ticket" in options and not as_events:
        raise _invalid("ticket", "is for streams of events; send the key in a header")
    if as_events:
        fields = binding.method.input_type.fields_by_name
        if "follow" in fields and b"follow=" not in query:
            request.follow = True
        encoder = _encoder(binding, request, options, headers)
    return Wanted(
        binding=binding,
        request=request,
        metadata=metadata,
        peer=peer_of(scope),
        encoder=encoder,
        options=options,
        head_only=scope["method"] == "HEAD",
    )


def _check(options: Mapping[str, str]) -> None:
    """That words of the gateway's own query are among those that they can be."""
    for name, words in _WORDS.items():
        if (word := options.get(name, words[0]).lower()) not in words:
            raise _invalid(name, f'must be {" or ".join(words)}, not "{word[:50]}"')


def _encoder(
    binding: Binding, request: Any, options: Mapping[str, str], headers: Mapping[bytes, bytes]
) -> Encoder:
    encoding = options.get("encoding", "text")
    last_id = headers.get(b"last-event-id", b"").decode("latin-1") or options.get(
        "last_event_id", ""
    )
    if last_id.endswith(ENDED):
        raise NothingFollows
    encoder = encoder_of(binding.method, base64=encoding == "base64")
    try:
        encoder.begin(request, last_id)
    except UnknownPlace:
        raise _invalid(
            "Last-Event-ID",
            f'"{last_id[:100]}" is no id of this stream; without one it begins anew',
        ) from None
    return encoder


async def _nothing(send: Send) -> None:
    await send({"type": "http.response.start", "status": HTTPStatus.NO_CONTENT, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class NothingFollows(Exception):
    """The reader has everything; 204 stops a browser from asking again."""


def _wants_events(binding: Binding, headers: Mapping[bytes, bytes]) -> bool:
    if wire.CONTENT_TYPE in headers.get(b"accept", b""):
        return True
    return binding.method.name != download.METHOD or binding.path.endswith("/watch")


def split_query(query: bytes) -> tuple[dict[str, str], bytes]:
    """The gateway's own fields of a stream's query, and the rest as it came."""
    own: dict[str, str] = {}
    rest: list[bytes] = []
    for pair in query.split(b"&") if query else ():
        name, _, value = pair.partition(b"=")
        if name in _OWN:
            own[name.decode()] = unquote_plus(value.decode("latin-1"))
        else:
            rest.append(pair)
    return own, b"&".join(rest)


def _invalid(field: str, message: str) -> Failure:
    return Failure(
        status=HTTPStatus.BAD_REQUEST,
        error=f"{field}: {message}",
        reason="INVALID_FIELD",
        details=[{"field": field, "message": message}],
    )


def _unavailable(message: str) -> Failure:
    return Failure(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        error=message,
        reason="UNAVAILABLE",
        headers={"retry-after": "2"},
    )
