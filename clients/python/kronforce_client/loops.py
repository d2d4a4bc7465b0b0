"""Two event loops with grpc.aio in one process: the one of `Client`, and the program's own.

grpc.aio wakes every loop for each event, and whoever comes second finds nothing to read
(grpc/grpc#25364). No call suffers, but asyncio reports each such wake as an error. Exactly these
reports are dropped; a handler that the program gives its own loop is its own matter.
"""

from __future__ import annotations

import logging

_ASYNCIO = logging.getLogger("asyncio")


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, BlockingIOError):
        return True
    told = record.getMessage()
    # asyncio and uvloop name the callback differently.
    return not ("PollerCompletionQueue" in told and "_handle_events" in told)


def drop_empty_wakes() -> None:
    """Once per process is enough, more often does no harm."""
    _ASYNCIO.addFilter(_is_news)
