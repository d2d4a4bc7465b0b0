"""Logs: lines to stderr, text on a terminal and JSON otherwise; each has an `action`.

The text of a line is for people and may change; `action` (dotted, like
`key.revoked`) is for machines and does not. What libraries write through
`logging` comes out the same way, under the action `library`. Never log a key,
a value of a parameter, or output of a task.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(level: str = "info", *, stream: TextIO | None = None) -> None:
    """Set up this process's logs. `level` is a key of LEVELS; call once, from an entry point."""
    out = stream or sys.stderr
    render: Processor = (
        structlog.dev.ConsoleRenderer(colors=True, pad_event_to=0)
        if out.isatty()
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _action,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        # Tests and long-lived modules hold loggers from before `configure`.
        cache_logger_on_first_use=False,
    )
    _route_libraries(LEVELS[level], out, shared, render)


def logger(component: str) -> FilteringBoundLogger:
    """A logger for one room or loop; pass `action=` with every line."""
    return cast("FilteringBoundLogger", structlog.get_logger(component=component))


def _action(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    event.setdefault("action", "library")
    return event


def _route_libraries(level: int, out: TextIO, shared: list[Processor], render: Processor) -> None:
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                *shared,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries are heard when something is wrong; their chatter is theirs.
    root.setLevel(max(level, logging.WARNING))
    # Rooms below this one write through `logging` with `extra={"action": …}`.
    logging.getLogger("kronforce").setLevel(level)
