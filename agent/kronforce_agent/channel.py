"""gRPC channels to the controller: plain on loopback, TLS elsewhere, and calls that are never left.

An abandoned `grpc.aio` call is never cancelled by itself, so every stream is opened through
`cancelling`.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from kronforce_agent.config import AgentConfig, ConfigError

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Above the 4 MB of the contract: a frame of assignments must never break a session."""

WINDOW_BYTES = 1024 * 1024
"""Of assignments and acknowledgements under way: far more than the slots of an agent ask for."""

OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A dead peer is noticed by our heartbeat; this keeps what lies between from forgetting us.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Windows of one size from the start, in place of a ping after each heartbeat to measure them.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
    ("grpc.http2.max_frame_size", WINDOW_BYTES),
    # A new channel is a new attempt: nothing of an earlier one's back-off may be shared.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


def open_channel(config: AgentConfig, ca_pem: str) -> grpc.aio.Channel:
    """A channel of its own. Raises ConfigError if the CA file cannot be read."""
    roots = _roots(config, ca_pem)
    if roots is None and (config.insecure or is_loopback(config.address)):
        return grpc.aio.insecure_channel(config.address, options=OPTIONS)
    credentials = grpc.ssl_channel_credentials(root_certificates=roots)
    return grpc.aio.secure_channel(config.address, credentials, options=OPTIONS)


@asynccontextmanager
async def cancelling(
    call: grpc.aio.StreamStreamCall[Any, Any],
) -> AsyncIterator[grpc.aio.StreamStreamCall[Any, Any]]:
    """The call, cancelled when the block is left, however."""
    try:
        yield call
    finally:
        call.cancel()


def is_loopback(address: str) -> bool:
    """Whether plaintext stays on this host."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _roots(config: AgentConfig, ca_pem: str) -> bytes | None:
    if config.ca_file is None:
        return _checked(ca_pem, "the CA in the join token or the credential") or None
    try:
        pem = config.ca_file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"--ca {config.ca_file}: {error.strerror}") from error
    return _checked(pem or "-", f"--ca {config.ca_file}")


def _checked(pem: str, what: str) -> bytes:
    """grpc says nothing of use about a damaged one."""
    if pem:
        try:
            ssl.create_default_context(cadata=pem)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"{what} is no certificate (PEM); copy it whole") from error
    return pem.encode()
