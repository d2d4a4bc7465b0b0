"""Stream tickets: one stream, one read, one minute."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson

from kronforce.v1 import api_key_pb2
from kronforce.v1.run_pb2 import RunUpdates
from kronforce_gateway.live.tickets import MAX_TICKETS, TICKET_SECS, Tickets, stream_of
from tests.contract.gateway.rig import Rig, gateway

STREAM = "/api/runs/r1/watch?include_output=true"


async def watch(_request: Any, _call: Any) -> AsyncIterator[Any]:
    yield RunUpdates()


async def ticket(rig: Rig, path: str = STREAM) -> Any:
    body = orjson.dumps({"path": path})
    async with rig.get("/api/stream-tickets", verb="POST", body=body) as answer:
        assert answer.status == 201
        return await answer.json()


async def test_a_ticket_opens_its_stream_once_without_a_key(tmp_path: Path) -> None:
    async with gateway(tmp_path, WatchRuns=watch) as rig:
        made = await ticket(rig)
        async with rig.get(made["url"], key={}) as answer:
            assert answer.status == 200
            assert b"event: end" in await answer.body()
        async with rig.get(made["url"], key={}) as again:
            assert again.status == 204

    assert made["url"] == f"{STREAM}&ticket={made['ticket']}"
    assert made["expires_in_secs"] == TICKET_SECS


async def test_a_ticket_opens_no_other_stream(tmp_path: Path) -> None:
    async with gateway(tmp_path, WatchRuns=watch) as rig:
        made = await ticket(rig)
        path = f"/api/runs/r2/watch?include_output=true&ticket={made['ticket']}"
        async with rig.get(path, key={}) as answer:
            assert (answer.status, (await answer.json())["reason"]) == (403, "WRONG_TICKET")


async def test_a_ticket_may_say_where_its_stream_goes_on(tmp_path: Path) -> None:
    async with gateway(tmp_path, WatchRuns=watch) as rig:
        made = await ticket(rig)
        async with rig.get(f"{made['url']}&last_event_id=~~x-1", key={}) as answer:
            assert answer.status == 200


async def test_a_ticket_is_for_streams_alone(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        body = orjson.dumps({"path": "/api/jobs"})
        async with rig.get("/api/stream-tickets", verb="POST", body=body) as answer:
            assert answer.status == 400
        made = await ticket(rig, "/api/executions/e1/output")
        async with rig.get(made["url"], key={}) as answer:
            assert answer.status == 400
        async with rig.get(f"/api/jobs?ticket={made['ticket']}", key={}) as answer:
            assert answer.status in (400, 401)


async def test_without_a_key_there_is_no_ticket(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        body = orjson.dumps({"path": STREAM})
        async with rig.get("/api/stream-tickets", verb="POST", key={}, body=body) as answer:
            assert answer.status == 401


async def test_a_ticket_does_what_its_key_may(tmp_path: Path) -> None:
    async with gateway(tmp_path, WatchRuns=watch) as rig:
        rig.key = await rig.served.key(api_key_pb2.ROLE_AGENT)
        made = await ticket(rig)
        async with rig.get(made["url"], key={}) as answer:
            assert (answer.status, (await answer.json())["reason"]) == (403, "ROLE_FORBIDS")


def test_tickets_run_out_and_are_bounded() -> None:
    now = 100.0
    tickets = Tickets(lambda: now)
    old = tickets.make(b"/a?", {})
    now += TICKET_SECS
    assert tickets.take(old) is None

    first = tickets.make(b"/a?", {})
    for _ in range(MAX_TICKETS):
        last = tickets.make(b"/a?", {})
    assert len(tickets) == MAX_TICKETS
    assert tickets.take(first) is None
    assert tickets.take(last) is not None


def test_the_order_of_a_query_does_not_matter() -> None:
    assert stream_of(b"/a", b"y=2&x=1&ticket=t") == stream_of(b"/a", b"last_event_id=7&x=1&y=2")
    assert stream_of(b"/a", b"x=1") != stream_of(b"/a", b"x=2")
