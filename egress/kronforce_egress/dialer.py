"""Connections to checked addresses only: resolve, check every answer, connect to what was checked.

This is the one place that opens a socket. It stands below the HTTP engine, which asks it for each
connection by the host of the request: nothing resolves a name again between the check and the
connection, and TLS and `Host` still see the name.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

import httpcore2

from kronforce_egress.addresses import Address
from kronforce_egress.errors import CannotConnect, NameNotResolved, Refused, TlsFailed
from kronforce_egress.policy import Policy
from kronforce_egress.resolver import ADDRESSES_MAX, Resolver

CONNECT_SECS = 15.0
"""For the last address of a name: three SYN retries of Linux."""
NEXT_SECS = 4.0
"""For one that has another behind it, as where IPv6 leads nowhere: two retries."""
TLS_SECS = 30.0
"""For the handshake; slow servers ask others about a client's certificate meanwhile."""
# A peer that vanished without a word is noticed within about two minutes, whatever is waited for.
KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)

_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})

Option = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class Dialer(httpcore2.AsyncNetworkBackend):
    """The engine's way to the network, under one policy."""

    def __init__(self, policy: Policy, resolver: Resolver) -> None:
        self._policy = policy
        self._resolver = resolver
        self._plain = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the engine's signature
        local_address: str | None = None,
        socket_options: Iterable[Option] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address that takes it. Raises Refused, CannotConnect and others."""
        addresses = await self._checked(host)
        failures: list[str] = []
        for address in addresses:
            secs = CONNECT_SECS if address is addresses[-1] else NEXT_SECS
            try:
                stream = await self._plain.connect_tcp(
                    str(address), port, timeout=secs, socket_options=KEEPALIVE
                )
            except httpcore2.ConnectTimeout:
                failures.append(f"{_shown(host, address)} port {port}: no answer within {secs:g} s")
            except httpcore2.ConnectError as error:
                failures.append(f"{_shown(host, address)} port {port}: {_why(error)}")
            else:
                return _Stream(stream)
        raise CannotConnect(f"cannot connect to {'; '.join(failures)}")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the engine's signature
        socket_options: Iterable[Option] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Never: a policy judges addresses."""
        raise Refused("only network addresses are connected to")

    async def sleep(self, seconds: float) -> None:
        await self._plain.sleep(seconds)

    async def _checked(self, host: str) -> Sequence[Address]:
        """All of them or none: one bad answer among good ones is how a check is gone around."""
        addresses = await self._addresses(host)
        for address in addresses:
            self._policy.check(host, address)
        return addresses[:ADDRESSES_MAX]

    async def _addresses(self, host: str) -> Sequence[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            found = await self._resolver.resolve(host)
        if not found:
            raise NameNotResolved(f"{host} has no address")
        return found


class _Stream(httpcore2.AsyncNetworkStream):
    """The engine's own stream, with TLS failures told apart from others."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        """Raises TlsFailed."""
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, TLS_SECS)
        except httpcore2.ConnectTimeout:
            why = f"no handshake within {TLS_SECS:g} s"
        except (httpcore2.ConnectError, ValueError) as error:
            why = tls_reason(error)
        except BaseException:
            # Cancelled in the handshake: the engine has forgotten the socket by now.
            await self._stream.aclose()
            raise
        raise TlsFailed(f"{server_hostname}: {why}")

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def _shown(host: str, address: Address) -> str:
    return host if host == str(address) else f"{host} ({address})"


def _why(error: Exception) -> str:
    """The system's own word (`connection refused`), from the innermost error that has one."""
    number = _system_error(error)
    text = os.strerror(number) if number else "the connection failed"
    return text[:1].lower() + text[1:]


def _system_error(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """OpenSSL's error behind another, if there is one."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def tls_reason(error: BaseException) -> str:
    """What went wrong between two sides that speak TLS, as part of a sentence."""
    found = tls_error(error)
    if isinstance(found, ssl.SSLCertVerificationError):
        why = found.verify_message.rstrip(".")
        return f"its certificate is not trusted ({why}); tls.ca_pem names another authority"
    if isinstance(found, ssl.SSLError) and found.reason in _NO_TLS:
        return "it does not speak TLS on this port; is it http:// there?"
    if isinstance(found, ssl.SSLError):
        return f"the TLS handshake failed ({(found.reason or 'unknown').replace('_', ' ').lower()})"
    return "the connection ended in the TLS handshake; does it speak TLS on this port?"
