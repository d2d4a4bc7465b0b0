"""The calls under way: how many there may be, how long they may take, how they are ended.

One keeper per process looks through them once a second: a unary call beyond
the ceiling ends with DEADLINE_EXCEEDED, a stream whose key is good no longer
with UNAUTHENTICATED, one whose key sees other groups than it did with
UNAVAILABLE. At shutdown every stream ends with UNAVAILABLE, because a stopping
server would otherwise wait for them.
"""

from __future__ import annotations

from kronforce.api.access import Method
from kronforce.api.call import Call
from kronforce.api.identity import LAST_USED_SECS, REVISION_POLL_SECS, Identity
from kronforce.clock import Clock, next_tick
from kronforce.errors import (
    DeadlineExceeded,
    KronforceError,
    ResourceExhausted,
    Unavailable,
)
from kronforce.telemetry import logs

# Long polls wait up to 60 s; nothing unary has a reason to take longer than this.
UNARY_CEILING_SECS = 90.0
# Far above what one core serves at a time; below it, memory for requests of 4 MB stays bounded.
MAX_UNARY = 8_192
# Two per agent and one per watcher: room for 10,000 agents and as many watchers again.
MAX_STREAMS = 40_000

# How long a caller may take to read what is being written to it when its call is ended.
UNREAD_SECS = 5.0

log = logs.logger("api")


class InFlight:
    """Every call between its admission and its end; for one event loop."""

    def __init__(
        self, clock: Clock, *, max_unary: int = MAX_UNARY, max_streams: int = MAX_STREAMS
    ) -> None:
        self._clock = clock
        self._max_unary = max_unary
        self._max_streams = max_streams
        self._unary: dict[Call, float] = {}
        self._streams: set[Call] = set()
        # Those that were ended in the middle of a write, with when that is waited for no longer.
        self._unread: dict[Call, float] = {}
        self._stopping = False

    def admit(self, method: Method, call: Call) -> None:
        """Refuse beyond the limits, or remember the call until `leave`."""
        if self._stopping:
            raise Unavailable("the server is stopping; try again in a moment")
        if method.streaming:
            if len(self._streams) >= self._max_streams:
                raise _too_many("streams", self._max_streams)
            self._streams.add(call)
        else:
            if len(self._unary) >= self._max_unary:
                raise _too_many("calls", self._max_unary)
            ceiling = self._clock.monotonic() + UNARY_CEILING_SECS
            if call.deadline is None or call.deadline > ceiling:
                call.deadline = ceiling
            self._unary[call] = call.deadline

    def leave(self, call: Call) -> None:
        """The call has ended; harmless for one that was never admitted."""
        if self._unary.pop(call, None) is None:
            self._streams.discard(call)
            self._unread.pop(call, None)

    @property
    def streams(self) -> int:
        return len(self._streams)

    @property
    def unary(self) -> int:
        return len(self._unary)

    def end_overdue(self) -> None:
        """End unary calls whose deadline has passed, and writes that nobody reads."""
        now = self._clock.monotonic()
        for call in [call for call, until in self._unread.items() if now >= until]:
            call.cut()
        for call in [call for call, deadline in self._unary.items() if now >= deadline]:
            call.end(DeadlineExceeded("the deadline passed first; what was begun may still happen"))

    def end_unauthorised(self, identity: Identity) -> None:
        """End streams whose key was revoked, has expired or sees other groups than it did.

        They are looked through only when some key may have: of thousands of agents most stay.
        """
        if not identity.is_due():
            return
        for call in list(self._streams):
            if (error := identity.judge(call)) is not None:
                self._end_stream(call, error)

    def end_streams(self, error: KronforceError) -> None:
        """End every stream, and admit nothing new: the server stops."""
        self._stopping = True
        for call in list(self._streams):
            self._end_stream(call, error)

    def _end_stream(self, call: Call, error: KronforceError) -> None:
        call.end(error)
        if call.writing:
            self._unread.setdefault(call, self._clock.monotonic() + UNREAD_SECS)


def _too_many(what: str, limit: int) -> ResourceExhausted:
    return ResourceExhausted(
        f"{limit} {what} are under way; try again in a moment", limit=what, maximum=limit
    )


class Keeper:
    """The loop that keeps identities and calls true. Run `run`; cancel it to stop."""

    def __init__(self, *, identity: Identity, in_flight: InFlight, clock: Clock) -> None:
        self._identity = identity
        self._in_flight = in_flight
        self._clock = clock
        self._last_used_at = clock.monotonic()

    async def run(self) -> None:
        """Once a second, for ever; what the store cannot answer now is asked again."""
        away = False
        while True:
            await self._clock.sleep_until(next_tick(self._clock, REVISION_POLL_SECS))
            self._in_flight.end_overdue()
            try:
                await self.recheck()
                await self._write_last_used()
                away = False
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the store being away
                # The store is away: streams stay, and the next turn asks again.
                if not away:
                    log.warning("keys cannot be rechecked", action="keys.stale", error=str(error))
                away = True

    async def recheck(self, *, force: bool = False) -> None:
        """Reread keys if one was revoked, and end the streams of those that are gone."""
        await self._identity.refresh(force=force)
        self._in_flight.end_unauthorised(self._identity)

    async def _write_last_used(self) -> None:
        now = self._clock.monotonic()
        if now >= self._last_used_at + LAST_USED_SECS:
            self._last_used_at = now
            await self._identity.write_last_used()
