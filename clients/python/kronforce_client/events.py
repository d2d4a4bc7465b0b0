"""Events: what happened, in commit order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING

from kronforce.v1 import event_service_pb2 as pb
from kronforce.v1.event_pb2 import Event, Severity
from kronforce.v1.event_service_pb2_grpc import EventServiceStub
from kronforce_client.calls import Caller
from kronforce_client.follow import OnInterruption, frames
from kronforce_client.instants import timestamp
from kronforce_client.paging import pages
from kronforce_client.streams import Stream

if TYPE_CHECKING:
    from kronforce.v1.event_service_pb2_grpc import EventServiceAsyncStub


class Events:
    """`kf.events`. `kind` is an exact kind, `ns.*`, or a prefix with `*`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub: EventServiceAsyncStub = EventServiceStub(caller.channel)

    async def page(
        self,
        *,
        kind: str = "",
        severity: Severity.ValueType | None = None,
        job: str = "",
        since: datetime | None = None,
        page_size: int = 100,
        page_token: str = "",
        timeout_secs: float | None = None,
    ) -> pb.ListEventsResponse:
        """One page of events, newest first."""
        request = pb.ListEventsRequest(
            page_size=page_size,
            page_token=page_token,
            kind_pattern=kind,
            severity=severity or Severity.SEVERITY_UNSPECIFIED,
            job_id=job,
            since=timestamp(since),
        )
        return await self._caller.unary(self._stub.ListEvents, request, timeout_secs=timeout_secs)

    def list(
        self,
        *,
        kind: str = "",
        severity: Severity.ValueType | None = None,
        job: str = "",
        since: datetime | None = None,
    ) -> Stream[Event]:
        """Every event that matches, newest first, fetched page by page as they are read."""

        async def fetch(token: str) -> tuple[Sequence[Event], str]:
            page = await self.page(
                kind=kind, severity=severity, job=job, since=since, page_token=token
            )
            return page.events, page.next_page_token

        return Stream(pages(fetch))

    def watch(
        self,
        *,
        kind: str = "",
        severity: Severity.ValueType | None = None,
        cursor: str = "",
        on_interruption: OnInterruption | None = None,
    ) -> Stream[Event]:
        """Events from a cursor, or from now on, each once; survives restarts."""
        request = pb.WatchEventsRequest(
            cursor=cursor,
            kind_pattern=kind,
            severity=severity or Severity.SEVERITY_UNSPECIFIED,
        )
        return Stream(self._watch(request, on_interruption))

    async def _watch(
        self, request: pb.WatchEventsRequest, tell: OnInterruption | None
    ) -> AsyncGenerator[Event, None]:
        source = frames(
            self._caller,
            lambda: self._caller.stream(self._stub.WatchEvents, request),
            done=lambda: False,
            tell=tell,
        )
        async with aclosing(source) as replies:
            async for reply in replies:
                for event in reply.events:
                    yield event
                request.cursor = reply.cursor or request.cursor
