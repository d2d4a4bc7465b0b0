"""The events of the controller in memory (`api_server.py`)."""

# ruff: noqa: N802 - methods are named as the contract names them

from __future__ import annotations

import grpc

from kronforce.v1 import event_service_pb2, event_service_pb2_grpc
from tests.fakes.api.refused import Refused
from tests.fakes.api.state import State, page


class FakeEvents(event_service_pb2_grpc.EventServiceServicer):
    """Lists and streams what `add_event` put in."""

    def __init__(self, shared: State) -> None:
        self._shared = shared

    async def ListEvents(self, request, context):
        found = list(reversed(self._shared.events))
        rows, token = page(found, request)
        return event_service_pb2.ListEventsResponse(
            events=rows, next_page_token=token, total=len(found), total_exact=True
        )

    async def WatchEvents(self, request, context):
        cuts = self._shared.cuts
        at = int(request.cursor) if request.cursor else len(self._shared.events)
        yield event_service_pb2.WatchEventsResponse(cursor=str(at))
        while True:
            version = self._shared.version
            if self._shared.cuts != cuts:
                raise Refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "shutting down")
            if at < len(self._shared.events):
                fresh = self._shared.events[at:]
                at = len(self._shared.events)
                yield event_service_pb2.WatchEventsResponse(events=fresh, cursor=str(at))
            else:
                await self._shared.changed_since(version)
