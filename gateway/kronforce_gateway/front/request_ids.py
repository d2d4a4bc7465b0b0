"""One id for a request and everything that is logged of it.

The caller's own `X-Request-Id` where it is a plain word, else one of ours: this process's prefix
and a number, which costs a third of a random one.
"""

from __future__ import annotations

import itertools
import re
import secrets

HEADER = b"x-request-id"
# Letters, digits and what trace ids have; nothing that breaks a log line.
_WORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:+/=@-]{0,127}", re.ASCII)


class RequestIds:
    """Ids of one process."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix or secrets.token_hex(5)
        self._numbers = itertools.count(1)

    def take(self, sent: bytes | None) -> str:
        """The caller's id, or a new one."""
        if sent is not None and _WORD.fullmatch(sent):
            return sent.decode("ascii")
        return f"{self._prefix}{next(self._numbers):06x}"
