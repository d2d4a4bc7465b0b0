"""A transport that sends what is written in one turn of the loop with one system call.

An answer's head and its body are written apart. Sent apart they are two system calls, at each of
which the loop may lose its turn to another thread, and two packets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

# More is not held back: whoever writes without a pause is to learn that nobody reads.
AT_ONCE = 64 << 10


class OneWrite:
    """Stands in for a connection's transport."""

    def __init__(self, transport: Any, still_coming: Callable[[], bool] = lambda: False) -> None:
        self._transport = transport
        # Whether the caller is still sending what the answer did not wait for.
        self._still_coming = still_coming
        self.lingering = False
        self._parts: list[bytes] = []
        self._size = 0
        self._call_soon = asyncio.get_running_loop().call_soon

    def write(self, data: bytes) -> None:
        """Send it at the end of this turn of the loop."""
        if not self._parts:
            self._call_soon(self._flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > AT_ONCE:
            self._flush()

    def close(self) -> None:
        """Send what is left, then close.

        Not while the caller still sends: it would be cut off and never read the answer. It is
        closed by the next call, when all has come, it took too long, or everything stops.
        """
        self._flush()
        self.lingering = not self.lingering and self._still_coming()
        if not self.lingering:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; of what is left goes what the peer takes now."""
        self._flush()
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that are not sent yet."""
        return int(self._transport.get_write_buffer_size()) + self._size

    def _flush(self) -> None:
        parts, self._parts, self._size = self._parts, [], 0
        if parts and not self._transport.is_closing():
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
