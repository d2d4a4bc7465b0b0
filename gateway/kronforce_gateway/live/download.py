"""`ReadOutput` without events: the bytes as they are, both streams in the order read.

Where bytes are missing a line says how many. The type is text where the first bytes are; browsers
are told not to guess.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from kronforce_gateway.live.connection import Connection
from kronforce_gateway.live.text import whole_bytes

METHOD = "ReadOutput"

TEXT, BYTES = b"text/plain; charset=utf-8", b"application/octet-stream"
_YES = {"1", "true"}
# Nothing of a task's output may run in a browser as a page of ours.
_HEADERS = {
    b"content-security-policy": b"sandbox",
    b"x-accel-buffering": b"no",
}


async def send(
    options: Mapping[str, str],
    name: str,
    replies: AsyncIterator[Message],
    connection: Connection,
    *,
    head_only: bool,
) -> None:
    """Write all replies; the head waits for the first bytes, or for none."""
    async for reply in replies:
        parts = list(_bytes_of(reply))
        if not connection.begun:
            await _begin(options, name, b"".join(parts[:1]), connection)
        if head_only:
            break
        await connection.write(parts)
    if not connection.begun:
        await _begin(options, name, b"", connection)
    await connection.end()


async def _begin(
    options: Mapping[str, str], name: str, sample: bytes, connection: Connection
) -> None:
    headers = dict(_HEADERS)
    if options.get("download", "").lower() in _YES:
        headers[b"content-disposition"] = f'attachment; filename="{name}.log"'.encode()
    await connection.begin(TEXT if is_text(sample) else BYTES, headers)


def is_text(sample: bytes) -> bool:
    """Whether bytes are UTF-8 without NUL, as far as they go."""
    try:
        sample[: whole_bytes(sample)].decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in sample


def _bytes_of(reply: Any) -> Iterator[bytes]:
    for chunk in reply.chunks:
        yield chunk.data or b"\n[%d bytes are not kept]\n" % chunk.gap_bytes
