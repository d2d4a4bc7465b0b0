"""Who calls: the key that came with a request, asked of the controller before anything else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kronforce.api.transport import CallFailed, Transport
from kronforce.v1 import key_service_pb2
from kronforce_gateway import failures, requests
from kronforce_gateway.calls import Scope, peer_of
from kronforce_gateway.failures import Failure

_WHO_AM_I = key_service_pb2.DESCRIPTOR.services_by_name["KeyService"].methods_by_name["WhoAmI"]

# Where the caller stands in a request's scope.
IN_SCOPE = "kronforce.mcp.caller"


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """A key that is good, and what each of its calls is made with."""

    permissions: frozenset[str]
    options: Mapping[str, Any]


def key_of(headers: Mapping[bytes, bytes]) -> bytes:
    """By what a caller's sessions go: a hash of the key that came, unchecked.

    However the header is written, a key has one: nobody gets more rooms by spelling.
    """
    words = headers.get(b"authorization", b"").split()
    return hashlib.sha256(words[-1] if words else b"").digest()


async def identify(transport: Transport, scope: Scope, headers: Mapping[bytes, bytes]) -> Caller:
    """Ask whose key it is. Raises Failure."""
    options: dict[str, Any] = {"metadata": requests.forwarded(headers), "peer": peer_of(scope)}
    try:
        reply: Any = await transport.unary(_WHO_AM_I, key_service_pb2.WhoAmIRequest(), **options)
    except CallFailed as failed:
        raise failures.of_call(failed) from failed
    return Caller(permissions=frozenset(reply.permissions), options=options)


def is_refused(failure: Failure) -> bool:
    """Whether the key is good no longer, so that what it had open must end."""
    return failure.reason == "BAD_KEY"
