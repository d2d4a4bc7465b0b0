"""Named points in the agent where a test may kill, break or delay it.

The agent's own seam, because it imports nothing of the controller's; the environment contract is
the same. A module registers its points at import (`fail_here = failpoint("agent.before_spawn")`)
and calls them where a crash would be interesting. Without KRONFORCE_TEST_FAILPOINTS=1 a call is
one attribute check and the environment is otherwise ignored. With it, FAILPOINT names what
happens where, and each point's first hit is appended to the file KRONFORCE_FAILPOINT_LOG, so that
coverage can be summed over processes. Never a feature for users.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

FLAG = "KRONFORCE_TEST_FAILPOINTS"
PLAN = "FAILPOINT"
LOG = "KRONFORCE_FAILPOINT_LOG"

# Long enough to open a race for certain, short enough that a suite of them stays quick.
DEFAULT_DELAY_MS = 200

_ACTIONS = ("kill", "raise", "delay")


class FailpointError(Exception):
    """Raised where a test asked for it; nothing in the product may catch it by name."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """At its `nth` hit (from 1) the point `name` does `action`."""

    name: str
    nth: int
    action: str
    delay_ms: int = DEFAULT_DELAY_MS


class Failpoint:
    """One registered point; call it."""

    __slots__ = ("_active", "_hits", "_registry", "name")

    def __init__(self, name: str, registry: Failpoints) -> None:
        self.name = name
        self._registry = registry
        self._active = registry.active
        self._hits = 0

    def __call__(self) -> None:
        if self._active:
            self._hit()

    def _hit(self) -> None:
        with self._registry.lock:
            self._hits += 1
            nth = self._hits
        if nth == 1:
            self._registry.record(self.name)
        for plan in self._registry.plans:
            if plan.name == self.name and plan.nth == nth:
                _act(plan)


class Failpoints:
    """The points of one process and what its environment wants of them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.active = environ.get(FLAG) == "1"
        self.plans = parse_plans(environ.get(PLAN, "")) if self.active else ()
        self.lock = threading.Lock()
        self._log = environ.get(LOG) if self.active else None
        self._points: dict[str, Failpoint] = {}

    def register(self, name: str) -> Failpoint:
        if name in self._points:
            raise ValueError(f"failpoint {name!r} is registered twice; each place needs its own")
        point = self._points[name] = Failpoint(name, self)
        return point

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._points))

    def record(self, name: str) -> None:
        """Append `pid name` in one write, which O_APPEND keeps whole among processes."""
        if not self._log:
            return
        handle = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, f"{os.getpid()} {name}\n".encode())
        finally:
            os.close(handle)


def parse_plans(text: str) -> tuple[Plan, ...]:
    """Read `name:nth:kill|raise|delay[:ms]`, several separated by commas.

    Raises ValueError for anything else: a mistyped plan must not pass as a
    test that nothing broke.
    """
    return tuple(_parse_plan(part.strip()) for part in text.split(",") if part.strip())


def _parse_plan(text: str) -> Plan:
    name, *rest = text.split(":")
    if not name or not 2 <= len(rest) <= 3 or rest[1] not in _ACTIONS or not rest[0].isdigit():
        raise ValueError(f"{PLAN}={text!r}: expected name:nth:kill|raise|delay[:ms]")
    if len(rest) == 3 and (rest[1] != "delay" or not rest[2].isdigit()):
        raise ValueError(f"{PLAN}={text!r}: only delay takes a fourth part, milliseconds")
    delay_ms = int(rest[2]) if len(rest) == 3 else DEFAULT_DELAY_MS
    return Plan(name=name, nth=max(1, int(rest[0])), action=rest[1], delay_ms=delay_ms)


def _act(plan: Plan) -> None:
    if plan.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif plan.action == "raise":
        raise FailpointError(plan.name)
    else:
        # Blocks the calling thread on purpose: a stalled event loop is a failure worth testing.
        time.sleep(plan.delay_ms / 1000)


_process = Failpoints(os.environ)


def failpoint(name: str) -> Failpoint:
    """Register a point of this process under a dotted name, once, at import."""
    return _process.register(name)


def registered() -> tuple[str, ...]:
    """The names of all points that the imported modules have registered, sorted."""
    return _process.names()
