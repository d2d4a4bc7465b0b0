"""Which attempt a report is of: the fence, signed together with the execution.

A custom agent gets it with its work and sends it back, so that the documented report needs no
fence of its own, and nobody reports an attempt that was not given to them. Nothing here does I/O.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

# 128 bits: nobody guesses one, and it stays short in a URL.
MAC_BYTES = 16
# A fence is a 64-bit number.
_LONGEST = 60


class AttemptTokens:
    """Makes and reads them, with a key that outlives this process."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, execution_id: str, fence: int) -> str:
        """Safe in a URL as it stands."""
        return f"{fence}.{self._mac(execution_id, fence)}"

    def read(self, execution_id: str, token: str) -> int | None:
        """The fence, or None where it was not made for this execution."""
        number, _, mac = token[:_LONGEST].partition(".")
        if not number.isdecimal() or not number.isascii():
            return None
        fence = int(number)
        good = self._mac(execution_id, fence)
        return fence if hmac.compare_digest(good.encode(), mac.encode()) else None

    def _mac(self, execution_id: str, fence: int) -> str:
        text = f"{execution_id}:{fence}".encode()
        digest = hmac.new(self._key, text, hashlib.sha256).digest()[:MAC_BYTES]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
