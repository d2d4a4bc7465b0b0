# mypy: disable-error-code="override"
# Servicers take our Call where the generated base names grpc's context.
"""EventService: events are listed, and followed in commit order.

Following is level-triggered: what came after the cursor is read from the
store, whoever wrote it; a commit of this process only wakes the follower
earlier than its poll. Nothing is kept per follower but its cursor.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

from kronforce.api import references
from kronforce.api.call import Call
from kronforce.api.convert.event import cursor_position, cursor_text, event_message
from kronforce.api.convert.instants import instant_us
from kronforce.api.paging import Shape, next_token, read_page
from kronforce.clock import Clock
from kronforce.core.access import Scope
from kronforce.errors import InvalidArgument
from kronforce.store import events
from kronforce.store.commit_order import Position
from kronforce.store.database import Tx
from kronforce.store.events import EventFilter, EventRow
from kronforce.store.paging import Page, PageRequest
from kronforce.store.store import Store
from kronforce.v1 import event_service_pb2 as pb
from kronforce.v1 import event_service_pb2_grpc
from kronforce.v1.event_pb2 import Severity

# Events in one frame, far below the message limit: an event is some 300 bytes.
FRAME_EVENTS = 500

# Other controllers' events, and those that only a later read may show, come within this.
POLL_SECS = 1.0

# Between two reads of one follower: under load it gets fuller frames instead of a read a commit.
PAUSE_SECS = 0.05

# A frame comes at least this often, so that both ends know that the stream lives.
QUIET_SECS = 15.0

PATTERN_MAX = 100

_BY_SEQ: Shape = (int,)
_PATTERN = re.compile(r"[a-z0-9_.]*\*?")


class EventServicer(event_service_pb2_grpc.EventServiceServicer):
    """Thin: store functions read, `convert` renders."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def ListEvents(self, request: pb.ListEventsRequest, call: Call) -> pb.ListEventsResponse:
        _check_filter(request.kind_pattern, request.severity)
        page = await self._store.read(_events, call.scope, request, read_page(request, _BY_SEQ))
        return pb.ListEventsResponse(
            events=[event_message(row) for row in page.items],
            next_page_token=next_token(request, page),
            total=page.total,
            total_exact=page.total_exact,
        )

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, call: Call
    ) -> AsyncGenerator[pb.WatchEventsResponse, None]:
        _check_filter(request.kind_pattern, request.severity)
        filters = EventFilter(kind=request.kind_pattern or None, severity=request.severity or None)
        cursor = await self._start(request.cursor)
        # The first frame comes at once: from its cursor on nothing is missed.
        quiet_until = self._clock.monotonic()
        while True:
            commits, read_at = self._store.commits, self._clock.monotonic()
            rows, after = await self._store.read(
                events.events_after, call.scope, cursor, filters, FRAME_EVENTS
            )
            # Where nothing is left to scan the cursor stands still, except on PostgreSQL, where
            # every transaction in the cluster moves it.
            moved, cursor = after != cursor, after
            if rows or read_at >= quiet_until:
                quiet_until = read_at + QUIET_SECS
                yield pb.WatchEventsResponse(
                    events=[event_message(row) for row in rows], cursor=cursor_text(cursor)
                )
            await self._clock.sleep_until(read_at + PAUSE_SECS)
            if not moved:
                await self._store.wait_commit(commits, POLL_SECS)

    async def _start(self, cursor: str) -> Position:
        if cursor:
            return cursor_position(cursor)
        return await self._store.read(events.latest_cursor)


def _events(
    tx: Tx, scope: Scope, request: pb.ListEventsRequest, page: PageRequest
) -> Page[EventRow]:
    filters = EventFilter(
        kind=request.kind_pattern or None,
        severity=request.severity or None,
        job_id=references.job(tx, scope, request.job_id).id if request.job_id else None,
        since=instant_us(request.since) if request.HasField("since") else None,
    )
    return events.list_events(tx, scope, filters=filters, page=page)


def _check_filter(pattern: str, severity: int) -> None:
    if len(pattern) > PATTERN_MAX or not _PATTERN.fullmatch(pattern):
        raise InvalidArgument.of(
            ("kind_pattern", f"{pattern[:PATTERN_MAX]!r} is no pattern; use job.created or job.*")
        )
    if severity not in Severity.values():
        raise InvalidArgument.of(("severity", "use info, success, warning or error"))
