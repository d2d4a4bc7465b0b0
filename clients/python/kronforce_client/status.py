"""Turns what gRPC raises into the errors of `errors.py`.

The only place that reads `google.rpc.Status` details. A reply without details (a proxy, a server
that is not ours, a connection that failed) is judged by its code alone.
"""

from __future__ import annotations

import re

import grpc
from google.rpc import error_details_pb2, status_pb2

from kronforce_client import errors
from kronforce_client.errors import ClientError, ErrorFacts, Unreachable, Violation

_DETAILS_KEY = "grpc-status-details-bin"

_BY_CODE: dict[grpc.StatusCode, type[ClientError]] = {
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.Conflict,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: errors.Conflict,
    grpc.StatusCode.INVALID_ARGUMENT: errors.Invalid,
    grpc.StatusCode.PERMISSION_DENIED: errors.Forbidden,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.TimedOut,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Overloaded,
    grpc.StatusCode.OUT_OF_RANGE: errors.CursorTooOld,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unsupported,
}
# A stream that ends like this was cut by the network or by a server that stops.
_CUT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def from_rpc_error(error: grpc.aio.AioRpcError, address: str) -> ClientError:
    """The error that a caller sees for a failed call."""
    facts = _facts(_status(error))
    text = error.details() or ""
    if error.code() in _CUT or (error.code() is grpc.StatusCode.UNKNOWN and not facts.reason):
        return _unreachable(text, facts, address)
    kind = _BY_CODE.get(error.code(), errors.ServerFault)
    return kind(text or error.code().name.lower(), facts)


def error_of(status: status_pb2.Status) -> ClientError:
    """What an item of a batch was refused with, as TriggerJob would have raised it."""
    for code, kind in _BY_CODE.items():
        if code.value[0] == status.code:
            return kind(status.message, _facts(status))
    return errors.ServerFault(status.message, _facts(status))


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()


def _facts(status: status_pb2.Status) -> ErrorFacts:
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    for detail in status.details:
        # Unpack leaves the message alone when the detail is of another type.
        detail.Unpack(info)
        detail.Unpack(bad)
    violations = [
        Violation(field=each.field, description=each.description) for each in bad.field_violations
    ]
    return ErrorFacts(reason=info.reason, violations=violations, metadata=dict(info.metadata))


def _unreachable(text: str, facts: ErrorFacts, address: str) -> Unreachable:
    detail = text if facts.reason else _why(text)
    return Unreachable(f"cannot reach {address} ({detail})", facts, address=address, detail=detail)


def _why(text: str) -> str:
    """The part of gRPC's connection message that a person can use."""
    lowered = text.lower()
    known = {
        "connection refused": "connection refused",
        "name resolution": "no such host name",
        "dns resolution": "no such host name",
        "certificate_verify_failed": "its certificate is not trusted",
        "certificate verify failed": "its certificate is not trusted",
        "wrong_version_number": "it does not speak TLS",
        "ssl": "the TLS handshake failed",
        "tls": "the TLS handshake failed",
        "timed out": "no answer in time",
        "timeout": "no answer in time",
        "network is unreachable": "network unreachable",
        "socket closed": "connection closed",
        "goaway": "connection closed",
    }
    for mark, said in known.items():
        if mark in lowered:
            return said
    return re.sub(r"\s+", " ", text)[:200] or "connection lost"
