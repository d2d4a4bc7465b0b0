"""Why there is no session, in one sentence that says the way out. It reads errors, no more."""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio

NO_CREDENTIAL = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

_NEVER_CONNECTED = "failed to connect"
"""Otherwise a connection that worked has broken, and TLS is not why."""
_TLS_TROUBLE = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate does not come from the CA that this agent trusts; if that is the right "
        "controller, a new join token (kronforce agent token) or --ca FILE brings its CA",
    ),
    (
        "is not in peer certificate",
        "its certificate is for another name; give a name that stands in it as --address",
    ),
    (
        "WRONG_VERSION_NUMBER",
        "it does not speak TLS, and this agent does; plain text beyond this host needs --insecure",
    ),
    (
        "Socket closed",
        "it hung up, as it does when it wants TLS; a join token made by a controller with TLS "
        "carries its CA, or give --ca FILE",
    ),
)
"""A part of what grpc says, and what that means to a person."""


def explain(error: Exception, folder: Path) -> str:
    """Of a session that ended or never began; `folder` is where the credential is."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return str(error)
    if error.code() in NO_CREDENTIAL:
        return (
            f"{error.details()} (if the controller no longer knows this agent, remove "
            f"{folder / 'credential'} and give a new join token)"
        )
    details = error.details() or ""
    if error.code() == grpc.StatusCode.UNAVAILABLE and _NEVER_CONNECTED in details:
        for part, meaning in _TLS_TROUBLE:
            if part in details:
                return meaning
    return f"{error.code().name.lower()}: {details}"
