"""One request on its way through the door, and what its handler tells the door of it.

Handlers find it in the scope. Whoever finds the method that a request is for calls `admit` once,
before anything else is done for it: that counts it against its caller's limit and names its route
in metrics and logs. A handler that is called without the door, as in a test, may do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

KEY = "kronforce.passage"

# A route that nobody has named: paths of ours that do not exist are all one.
UNMATCHED = "-"

Header = tuple[bytes, bytes]
Admit = Callable[[int, "Passage"], None]


class Passage:
    """What the door knows of one request."""

    __slots__ = (
        "_limits",
        "authorization",
        "headers",
        "peer",
        "reason",
        "replied",
        "request_id",
        "route",
        "status",
    )

    def __init__(
        self, headers: Mapping[bytes, bytes], *, peer: str, request_id: str, limits: Admit
    ) -> None:
        # By name in lower case; of a repeated one the last.
        self.headers = headers
        # The address of whom it is for: behind a trusted proxy not the socket's.
        self.peer = peer
        self.request_id = request_id
        # With which key: the header's, or that of a browser's session.
        self.authorization = headers.get(b"authorization", b"")
        # The template (`/api/jobs/{job_id}`), never the path: that may hold names and tokens.
        self.route = UNMATCHED
        # Of the answer, once it began; 0 before.
        self.status = 0
        # Of the failure, where there was one.
        self.reason = ""
        # Headers that the answer gets.
        self.replied: list[Header] = []
        self._limits = limits

    def admit(self, route: str, rate_class: int) -> None:
        """Name the route and count the call. Raises Failure where the caller's limit is reached."""
        self.route = route
        self._limits(rate_class, self)


def admit(scope: MutableMapping[str, Any], route: str, rate_class: int) -> None:
    """The same for whoever holds the scope; nothing where no door was passed."""
    passage = scope.get(KEY)
    if passage is not None:
        passage.admit(route, rate_class)


def failed(scope: MutableMapping[str, Any], reason: str) -> None:
    """Tell the door's log why the answer is a refusal."""
    passage = scope.get(KEY)
    if passage is not None:
        passage.reason = reason


def headers_of(scope: MutableMapping[str, Any]) -> Mapping[bytes, bytes]:
    """The request's headers by name in lower case; of a repeated one the last."""
    passage = scope.get(KEY)
    return dict(scope["headers"]) if passage is None else passage.headers


def passage_of(scope: MutableMapping[str, Any]) -> Passage | None:
    """What the door knows of the request; None where it came past it."""
    return scope.get(KEY)
