"""What was asked and how it ended: counts by route for metrics, and a line for what failed.

A route is a template of ours, so there are as many as the contract has paths and one for all
others; a verb or a status that is not known counts as `other`. Lines never hold a path, a query or
a body: these carry names and tokens.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from kronforce_gateway.front.passage import Passage

_VERBS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# The caller has gone before there was an answer.
GONE = 499
# What the chain behind has logged already, or what may come in floods.
_QUIET = frozenset({401, 403, 404, 405, 421, 429, GONE})
_FAILED = 400
_OUR_FAULT = 500
_NOT_BUILT = 501
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING)

# Lines about failed calls in so many seconds; a flood of them says nothing more.
MAX_LINES = 20
LINES_SECS = 10.0

log = logging.getLogger("kronforce.http")


class HttpCounts:
    """One per gateway; written by its event loop alone."""

    def __init__(self) -> None:
        # (verb, route, status) -> requests that ended.
        self.ended: Counter[tuple[str, str, int]] = Counter()
        # route -> seconds until they had ended; a stream counts from its start.
        self.seconds: dict[str, float] = {}
        # Requests under way.
        self.open = 0
        # By level: what callers do wrong must not hide what we do.
        self._budgets = {level: _Budget() for level in _LEVELS}

    def count(self, verb: str, passage: Passage, seconds: float, now: float) -> None:
        """A request has ended, `now` on the monotonic clock."""
        route, status = passage.route, passage.status or GONE
        self.ended[verb if verb in _VERBS else "other", route, status] += 1
        self.seconds[route] = self.seconds.get(route, 0.0) + seconds
        if status >= _FAILED:
            level = _level(status)
            if log.isEnabledFor(level) and self._budgets[level].take(now):
                _log(level, verb, passage, seconds)

    def read(self) -> Mapping[tuple[str, str, str], float]:
        """As /metrics has them."""
        return {
            (verb, route, str(status)): float(count)
            for (verb, route, status), count in self.ended.items()
        }


class _Budget:
    """So many lines in so many seconds."""

    def __init__(self) -> None:
        self._lines = 0
        self._until = 0.0

    def take(self, now: float) -> bool:
        """Whether there may be one more; says how many there were not, once that is over."""
        if now >= self._until:
            if self._lines > MAX_LINES:
                log.warning(
                    "failed HTTP calls went without a line each",
                    extra={"action": "http.failed", "calls": self._lines - MAX_LINES},
                )
            self._lines, self._until = 0, now + LINES_SECS
        self._lines += 1
        return self._lines <= MAX_LINES


def _level(status: int) -> int:
    if status in _QUIET:
        return logging.DEBUG
    return logging.WARNING if status >= _OUR_FAULT and status != _NOT_BUILT else logging.INFO


def _log(level: int, verb: str, passage: Passage, seconds: float) -> None:
    log.log(
        level,
        "an HTTP call failed",
        extra={
            "action": "http.failed",
            "verb": verb,
            "route": passage.route,
            "status": passage.status or GONE,
            "reason": passage.reason,
            "request_id": passage.request_id,
            "peer": passage.peer,
            "ms": round(seconds * 1000, 1),
        },
    )
