"""One place through which every call goes: key, deadline, retries, errors, cancellation.

Retried are only calls that say they are idempotent, and only when the server could not be
reached. A stream is opened in a context manager that cancels it: grpc.aio never does that by
itself when the caller walks away.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

# Task processes may be forked by the program that uses this client; see grpc/grpc#43055.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc

from kronforce_client.discovery import Connection, is_loopback
from kronforce_client.errors import ClientError, TimedOut, Unreachable
from kronforce_client.status import from_rpc_error

if TYPE_CHECKING:
    from google.protobuf.message import Message

Q = TypeVar("Q", bound="Message")
R = TypeVar("R", bound="Message")
T = TypeVar("T")

# A unary call that has no answer by then has a problem that waiting does not solve.
DEFAULT_TIMEOUT_SECS = 30.0
# Tries of an idempotent call: a controller restart is over, or a person wants to be told.
MAX_ATTEMPTS = 4
# Longest of the jittered pauses between them, doubling from the first.
FIRST_PAUSE_SECS = 0.1
LONGEST_PAUSE_SECS = 2.0
# The server sends a frame at least every 15 s; three missing ones mean a dead connection.
SILENCE_SECS = 45.0
# While a call is under way the connection is asked for a sign of life this often, and given up
# without one: a dead one that nobody closed would take every call with it until the system gives
# it up, a quarter of an hour later. Soon enough that the call is made again before its deadline;
# not more often than servers allow.
KEEPALIVE_SECS = 10.0
KEEPALIVE_ANSWER_SECS = 8.0
# The largest reply: replies are at most 4 MiB, a frame of output a little more.
MAX_REPLY_BYTES = 16 * 1024 * 1024


def open_channel(connection: Connection) -> grpc.aio.Channel:
    """A channel to the server; nothing is sent before the first call."""
    options = [
        ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # How long an attempt to connect may take, whatever its name: a busy server says hello late.
        ("grpc.min_reconnect_backoff_ms", 5000),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.keepalive_time_ms", round(KEEPALIVE_SECS * 1000)),
        ("grpc.keepalive_timeout_ms", round(KEEPALIVE_ANSWER_SECS * 1000)),
        # While another of its pings has no answer, gRPC sends none for this: a minute, unless told.
        ("grpc.http2.ping_timeout_ms", round(KEEPALIVE_ANSWER_SECS * 1000)),
        # A call may wait for long, with nothing to send.
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if is_loopback(connection.address):
        options.append(("grpc.enable_http_proxy", 0))
    if not connection.tls:
        return grpc.aio.insecure_channel(connection.address, options=options)
    roots = None
    if connection.ca_file:
        roots = _read_ca(connection.ca_file)
    credentials = grpc.ssl_channel_credentials(root_certificates=roots)
    return grpc.aio.secure_channel(connection.address, credentials, options=options)


def _read_ca(path: str) -> bytes:
    """The file as it is. Raises ClientError where gRPC would say nothing of use."""
    try:
        ssl.create_default_context(cafile=path)
        with open(path, "rb") as file:  # noqa: PTH123 - reads once, before any call
            return file.read()
    except ssl.SSLError as error:
        raise ClientError(f"the CA file {path} is no certificate (PEM)") from error
    except OSError as error:
        raise ClientError(f"the CA file {path} cannot be read: {error.strerror}") from error


class Caller:
    """Makes calls over one channel, as one key."""

    def __init__(self, connection: Connection, *, timeout_secs: float) -> None:
        self.connection = connection
        self.address = connection.address
        self.channel = open_channel(connection)
        self._timeout = timeout_secs
        self._jitter = random.Random()  # noqa: S311 - spreads retries, guards nothing
        key = connection.key
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()

    async def close(self) -> None:
        await self.channel.close()

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Q, R],
        request: Q,
        *,
        timeout_secs: float | None = None,
        idempotent: bool = True,
    ) -> R:
        """One reply. Raises a ClientError."""
        attempts = MAX_ATTEMPTS if idempotent else 1
        for attempt in range(1, attempts + 1):
            try:
                return await method(
                    request, timeout=timeout_secs or self._timeout, metadata=self._metadata
                )
            except asyncio.CancelledError:
                said: ClientError = self._cut_or_cancelled()
            except grpc.aio.AioRpcError as error:
                said = from_rpc_error(error, self.address)
            if attempt == attempts or not isinstance(said, Unreachable):
                raise said
            await asyncio.sleep(self.pause_secs(attempt))
        raise AssertionError("the loop returns or raises")

    def pause_secs(self, attempt: int) -> float:
        """A jittered, doubling, bounded pause before the next attempt."""
        longest = min(LONGEST_PAUSE_SECS, FIRST_PAUSE_SECS * 2.0 ** min(attempt, 10))
        return self._jitter.uniform(longest / 2, longest)

    @asynccontextmanager
    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[Q, R], request: Q
    ) -> AsyncIterator[AsyncIterator[R]]:
        """The frames of a stream; leaving the block cancels it. Raises a ClientError."""
        call = method(request, metadata=self._metadata)
        try:
            yield self._frames(call)
        finally:
            call.cancel()

    async def _frames(self, call: grpc.aio.UnaryStreamCall[Any, R]) -> AsyncIterator[R]:
        # Not call.read(): once the status is there it forgets messages that were not read yet.
        messages = aiter(call)
        try:
            while True:
                async with asyncio.timeout(SILENCE_SECS):
                    frame = await anext(messages, None)
                if frame is None:
                    break
                yield frame
        except TimeoutError:
            raise self.unreachable(f"nothing came for {SILENCE_SECS:.0f} s") from None
        except asyncio.CancelledError:
            raise self._cut_or_cancelled() from None
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, self.address) from None

    def _cut_or_cancelled(self) -> Unreachable:
        """What a CancelledError means: grpc.aio also raises it when the server cut the call."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        return self.unreachable("the server ended the call")

    def unreachable(self, detail: str) -> Unreachable:
        """The error for a server that went away."""
        message = f"cannot reach {self.address} ({detail})"
        return Unreachable(message, address=self.address, detail=detail)


async def within(timeout_secs: float | None, what: str, work: Awaitable[T]) -> T:
    """The work's result, or TimedOut with what was waited for."""
    try:
        async with asyncio.timeout(timeout_secs):
            return await work
    except TimeoutError:
        raise TimedOut(f"{what} after {timeout_secs:g} s") from None


def is_cut(error: ClientError) -> bool:
    """Whether a stream that ended like this may go on from where it was."""
    return isinstance(error, Unreachable) or error.reason == "OVERLOADED"
