"""What every answer tells browsers: take it for what it says it is, keep nothing, frame nothing.

No answer carries an Access-Control header: pages of other origins read nothing here. A handler
that serves a page sets the headers that differ (its Content-Security-Policy, Cache-Control); what
it sets stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from kronforce_gateway.front.passage import Header

# Nothing in an answer is run, loaded, framed or sent on.
_ALWAYS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
# Of what is not JSON: a document in a window of its own.
_OF_DOCUMENTS: tuple[Header, ...] = (
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
_HSTS: Header = (b"strict-transport-security", b"max-age=31536000")
_JSON: Header = (b"content-type", b"application/json")
# A plain answer of the API has its type and its length alone.
_PLAIN_HEADERS = 2


def security_headers(headers: Sequence[Header], *, tls: bool) -> list[Header]:
    """What is added to these."""
    if len(headers) == _PLAIN_HEADERS and headers[0] == _JSON:
        return [*_ALWAYS, _HSTS] if tls else list(_ALWAYS)
    names = {name for name, _ in headers}
    wanted = _ALWAYS if _JSON in headers else (*_ALWAYS, *_OF_DOCUMENTS)
    return [each for each in (*wanted, *([_HSTS] if tls else ())) if each[0] not in names]
