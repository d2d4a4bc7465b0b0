"""A bar on stderr for what takes longer than a second; nothing where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from kronforce.cli.session import current
from kronforce.cli.status import size
from kronforce.clock import Clock

# Before this nobody has begun to wonder.
PATIENCE_SECS = 1.0
REDRAW_SECS = 0.1
WIDTH = 30


class Bar:
    """Call it with what is done, how much of it, and how much there is (0: nobody knows)."""

    def __init__(self, clock: Clock, *, shown: bool) -> None:
        self._clock = clock
        self._shown = shown
        self._begun = self._drawn = clock.monotonic()
        self._on_screen = False

    def __call__(self, what: str, done: int, total: int) -> None:
        now = self._clock.monotonic()
        if not self._shown or now - self._begun < PATIENCE_SECS or now - self._drawn < REDRAW_SECS:
            return
        self._drawn, self._on_screen = now, True
        print(f"\r\x1b[K{_line(what, done, total)}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._on_screen:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _line(what: str, done: int, total: int) -> str:
    if not total:
        return f"{what} …"
    full = min(WIDTH, WIDTH * done // total)
    return f"{what:<10} {'━' * full}{'╌' * (WIDTH - full)} {size(done)} of {size(total)}"


@contextmanager
def progress_bar() -> Iterator[Bar]:
    """A bar that is gone when the block ends."""
    session = current()
    bar = Bar(session.clock, shown=sys.stderr.isatty() and not session.settings.quiet)
    try:
        yield bar
    finally:
        bar.clear()
