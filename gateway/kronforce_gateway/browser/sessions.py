"""Browser sessions: an opaque cookie that stands for a key, for as long as somebody uses it.

A session lives in this process's memory and nowhere else, and so does the key's text in it: it is
what every call is made with, so that whatever ends the key ends the session with its next call and
its streams at once. A restart of the gateway signs everybody out.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable

# Nobody has used it for so long; an open stream is use.
IDLE_SECS = 12 * 3_600.0
# However it is used: then the key is asked for again.
ABSOLUTE_SECS = 7 * 86_400.0

# Of one key: more browsers than a person has. The one that was used least lately is signed out.
MAX_OF_A_KEY = 50
# Of all keys, at some 2 KiB each; likewise.
MAX_SESSIONS = 10_000


class Session:
    """One browser's. `authorization` is the header that its calls are made with."""

    def __init__(self, *, authorization: str, owner: str, now: float) -> None:
        self.authorization = authorization
        self.owner = owner
        self.csrf_token = secrets.token_urlsafe(32)
        self.made_at = now
        self.used_at = now
        self.name = b""
        # What ends its open streams.
        self.streams: set[Callable[[], object]] = set()

    def __repr__(self) -> str:
        return f"<Session of {self.owner}>"

    def left(self, now: float) -> float:
        """Seconds until it ends, if nobody uses it."""
        absolute = self.made_at + ABSOLUTE_SECS - now
        return absolute if self.streams else min(absolute, self.used_at + IDLE_SECS - now)


class Sessions:
    """All of this gateway's."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        # By the hash of the cookie, least lately used first: a lookup tells nothing by its time.
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, authorization: str, owner: str) -> tuple[Session, str]:
        """Begin one for a key that is good; the cookie's value, which is kept nowhere."""
        self._make_room(owner)
        secret = secrets.token_urlsafe(32)
        session = Session(authorization=authorization, owner=owner, now=self._monotonic())
        session.name = _name(secret)
        self._sessions[session.name] = session
        return session, secret

    def find(self, secret: str) -> Session | None:
        """The one that a cookie stands for, used now; None where it has ended."""
        session = self._sessions.get(_name(secret))
        if session is None:
            return None
        now = self._monotonic()
        if session.left(now) <= 0:
            self.end(session)
            return None
        session.used_at = now
        self._sessions.move_to_end(session.name)
        return session

    def left(self, session: Session) -> float:
        """Seconds that it lasts, if nobody uses it; 0: it has ended."""
        alive = session.name in self._sessions
        return max(0.0, session.left(self._monotonic())) if alive else 0.0

    def end(self, session: Session) -> None:
        """Sign out: its streams end now."""
        self._sessions.pop(session.name, None)
        for end_stream in list(session.streams):
            end_stream()

    def _make_room(self, owner: str) -> None:
        of_owner = [each for each in self._sessions.values() if each.owner == owner]
        if len(of_owner) >= MAX_OF_A_KEY:
            self.end(of_owner[0])
        elif len(self._sessions) >= MAX_SESSIONS:
            self.end(next(iter(self._sessions.values())))


def _name(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
