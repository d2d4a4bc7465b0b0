"""The session's cookie: its name, how it is set, and how it is found in a request.

Over TLS it is `__Host-kronforce`: Secure, for this host and no other. On plain HTTP browsers refuse
that prefix and Secure, so there it has a name of its own, with the port in it, since cookies do
not tell the ports of a host apart; two controllers on one host would sign each other out.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]

# Longer headers hold no cookie of ours.
MAX_HEADER = 16_384


def cookie_name(scope: Scope) -> str:
    """Of the connection that a request came by."""
    if scope["scheme"] == "https":
        return "__Host-kronforce"
    server = scope.get("server") or ("", 0)
    return f"kronforce-{server[1]}"


def find(scope: Scope, headers: Mapping[bytes, bytes]) -> str:
    """The session's secret; empty: none came."""
    header = headers.get(b"cookie", b"")
    if len(header) > MAX_HEADER:
        return ""
    wanted = cookie_name(scope)
    for pair in header.decode("latin-1").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == wanted:
            return value
    return ""


def setting(scope: Scope, secret: str, max_age: int) -> str:
    """The `Set-Cookie` header; an empty secret takes it away."""
    secure = "; Secure" if scope["scheme"] == "https" else ""
    age = max_age if secret else 0
    return (
        f"{cookie_name(scope)}={secret}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"
    )
