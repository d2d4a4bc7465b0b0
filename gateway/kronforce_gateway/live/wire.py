"""The text that `text/event-stream` is: events, bookmarks, heartbeats."""

from __future__ import annotations

CONTENT_TYPE = b"text/event-stream"

# How soon a browser connects again after a cut; a restart of the controller takes about as long.
RETRY_MS = 2_000

# First of all: how soon to come back, and bytes that make proxies let go of the head.
BEGIN = b"retry: %d\n: kronforce\n\n" % RETRY_MS

# A comment, which readers skip: the connection lives.
HEARTBEAT = b":\n\n"


def event(name: str, data: bytes, id_: str = "") -> bytes:
    """One event. `data` is JSON, which has no line breaks of its own."""
    if not id_:
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (id_.encode(), name.encode(), data)


def bookmark(id_: str) -> bytes:
    """Sets where a reader goes on, and is no event."""
    return b"id: %b\n\n" % id_.encode()
