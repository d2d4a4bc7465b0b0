"""Stream tickets: one read of one stream, for whoever can send neither header nor cookie.

A browser's EventSource on another page's origin sends nothing but the address, and a key must
never stand in one. A ticket stands for the key that it was made with, on one path and query, for
`TICKET_SECS`, once: what logs and histories keep of an address is worth nothing. They live in
memory; a spent one is answered with 204, which stops an EventSource from coming back.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kronforce_gateway.browser.sessions import Session

# From the call to the stream's begin.
TICKET_SECS = 60.0
# Not taken up yet; beyond it the oldest is void.
MAX_TICKETS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """What one stands for."""

    stream: bytes
    metadata: Mapping[str, str]
    # Where a browser's session asked for it; the stream ends with the session.
    session: Session | None
    until: float

    def __repr__(self) -> str:
        return f"<Ticket for {self.stream.decode('latin-1')}>"


class Tickets:
    """Those that nobody has taken up yet."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._tickets: OrderedDict[bytes, Ticket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tickets)

    def make(
        self, stream: bytes, metadata: Mapping[str, str], session: Session | None = None
    ) -> str:
        """One for a stream, as `stream_of` names it."""
        now = self._monotonic()
        self._drop_old(now)
        secret = secrets.token_urlsafe(32)
        ticket = Ticket(stream=stream, metadata=metadata, session=session, until=now + TICKET_SECS)
        self._tickets[_name(secret)] = ticket
        return secret

    def take(self, secret: str) -> Ticket | None:
        """What it stands for, for this once; None: spent, too old, or never made."""
        ticket = self._tickets.pop(_name(secret), None)
        return ticket if ticket is not None and self._monotonic() < ticket.until else None

    def _drop_old(self, now: float) -> None:
        while self._tickets:
            first = next(iter(self._tickets.values()))
            if first.until > now and len(self._tickets) < MAX_TICKETS:
                return
            self._tickets.popitem(last=False)


def stream_of(path: bytes, query: bytes) -> bytes:
    """The name of a stream: its path and query, without what may differ between two reads."""
    own = (b"ticket=", b"last_event_id=")
    pairs = sorted(pair for pair in query.split(b"&") if pair and not pair.startswith(own))
    return path + b"?" + b"&".join(pairs)


def _name(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
