"""The listener of /metrics over a real socket: one short answer, and limits to everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kronforce.config import CannotStart
from kronforce.telemetry import logs, metrics_listener
from kronforce.telemetry.metrics_listener import MAX_CONNECTIONS, MAX_HEAD, MetricsListener

GET = b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"


async def answer() -> bytes:
    return b"numbers 1\n"


async def broken() -> bytes:
    raise ValueError("nobody counted")


@asynccontextmanager
async def listening(text=answer, bind: str = "127.0.0.1:0") -> AsyncIterator[MetricsListener]:
    listener = MetricsListener(bind=bind, content_type="text/x", text=text)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def ask(listener: MetricsListener, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


async def test_a_get_is_answered_and_the_connection_closed() -> None:
    async with listening() as listener:
        head, _, body = (await ask(listener, GET)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 10\r\n")
    assert b"Connection: close" in head
    assert body == b"numbers 1\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD /metrics HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET /metrics?name=up HTTP/1.1\r\n\r\n", b"200 OK"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /metrics/x HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET /metrics\r\n\r\n", b"400 Bad Request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400 Bad Request"),
        (b"\xff\x00\r\n\r\n", b"400 Bad Request"),
        (b"GET /" + b"x" * MAX_HEAD, b"431 Request Header Fields Too Large"),
    ],
)
async def test_nothing_but_a_get_of_metrics_is_served(request_: bytes, status: bytes) -> None:
    async with listening() as listener:
        replied = await ask(listener, request_)

    assert replied.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert b"numbers" not in replied or (status == b"200 OK" and b"GET" in request_)


async def test_who_leaves_in_the_middle_of_a_request_is_forgotten() -> None:
    async with listening() as listener:
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"GET /met")
        writer.close()

        assert b"200 OK" in await ask(listener, GET)


async def test_a_fault_of_ours_is_told_without_its_text() -> None:
    async with listening(broken) as listener:
        replied = await ask(listener, GET)

    assert replied.startswith(b"HTTP/1.1 500 ")
    assert b"nobody" not in replied


async def test_who_says_nothing_is_let_go_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_listener, "LIMIT_SECS", 0.05)
    async with listening() as listener:
        assert await ask(listener, b"GET /metrics HTTP/1.1\r\n") == b""


async def test_more_connections_than_the_limit_are_turned_away_and_the_rest_served() -> None:
    wait = asyncio.Event()

    async def slow() -> bytes:
        await wait.wait()
        return b"late\n"

    async with listening(slow) as listener:
        waiting = [asyncio.create_task(ask(listener, GET)) for _ in range(MAX_CONNECTIONS)]
        while len(listener._open) < MAX_CONNECTIONS:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0)

        with pytest.raises(ConnectionResetError):
            raise_if_empty(await ask(listener, GET))
        wait.set()
        replies = await asyncio.gather(*waiting)

    assert all(reply.endswith(b"late\n") for reply in replies)


def raise_if_empty(reply: bytes) -> None:
    """An abort may be read as an end."""
    if not reply:
        raise ConnectionResetError


async def test_stopping_ends_answers_that_are_under_way() -> None:
    async with listening(asyncio.Event().wait) as listener:
        asked = asyncio.create_task(ask(listener, GET))
        while not listener._open:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0)

    reply = (await asyncio.gather(asked, return_exceptions=True))[0]
    assert reply == b"" or isinstance(reply, ConnectionError)


async def test_a_port_that_is_taken_is_refused_with_the_way_out() -> None:
    async with listening() as listener:
        with pytest.raises(CannotStart, match="--metrics-bind"):
            async with listening(bind=f"127.0.0.1:{listener.port}"):
                pass


@pytest.mark.parametrize(("bind", "warned"), [("127.0.0.1:0", False), ("0.0.0.0:0", True)])
async def test_an_address_that_others_reach_is_warned_of(
    bind: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("warning")
    async with listening(bind=bind) as listener:
        assert listener.address == f"127.0.0.1:{listener.port}"

    assert ("metrics.open" in capsys.readouterr().err) is warned
