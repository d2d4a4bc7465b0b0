"""Why a request had no answer: one class a reason, each with a sentence that says the way out.

`reason` is a word for programs (a `state_reason`, a log field). Messages name hosts and addresses,
never a query, a header or a body: those may hold what must not be seen.
"""

from __future__ import annotations

from typing import ClassVar


class EgressError(Exception):
    """Nothing usable came back."""

    reason: ClassVar[str] = "egress_failed"


class BadRequest(EgressError):
    """The request cannot be made as it was put: its address, a header, a certificate."""

    reason = "bad_request"


class Refused(EgressError):
    """The policy does not let anything connect there."""

    reason = "egress_refused"


class NameNotResolved(EgressError):
    """There is no address for the name."""

    reason = "dns_failed"


class CannotConnect(EgressError):
    """No address took the connection, or it broke before an answer."""

    reason = "connect_failed"


class TlsFailed(EgressError):
    """The other side is not who it should be, or does not take us."""

    reason = "tls_failed"


class BadResponse(EgressError):
    """What came is no HTTP, or ended too early."""

    reason = "bad_response"


class TooManyRedirects(EgressError):
    """It was sent on more often than was allowed."""

    reason = "too_many_redirects"


class ResponseTooLarge(EgressError):
    """The body is larger than was allowed."""

    reason = "response_too_large"


class TimedOut(EgressError):
    """Nothing came for longer than was allowed."""

    reason = "no_response"
