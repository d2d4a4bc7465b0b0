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
_OUR_FAULT = 500

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

    def count(self, verb: str, passage: Passage, seconds: float) -> None:
        """A request has ended."""
        route, status = passage.route, passage.status or GONE
        self.ended[verb if verb in _VERBS else "other", route, status] += 1
        self.seconds[route] = self.seconds.get(route, 0.0) + seconds
        if status >= 400:
            _log(verb, passage, status, seconds)

    def read(self) -> Mapping[tuple[str, str, str], float]:
        """As /metrics has them."""
        return {
            (verb, route, str(status)): float(count)
            for (verb, route, status), count in self.ended.items()
        }


def _log(verb: str, passage: Passage, status: int, seconds: float) -> None:
    level = logging.DEBUG if status in _QUIET else logging.INFO
    if status >= _OUR_FAULT and status != 501:
        level = logging.WARNING
    if log.isEnabledFor(level):
        log.log(
            level,
            "an HTTP call failed",
            extra={
                "action": "http.failed",
                "verb": verb,
                "route": passage.route,
                "status": status,
                "reason": passage.reason,
                "request_id": passage.request_id,
                "peer": passage.peer,
                "ms": round(seconds * 1000, 1),
            },
        )
