"""http tasks in a real agent, against a web server that says what the test wants."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from google.protobuf.json_format import MessageToDict

from kronforce.v1 import execution_pb2 as ex
from kronforce.v1 import job_pb2
from tests.fakes.controller import FakeController, cancel
from tests.fakes.http_server import HttpServer, Received, redirect, reply
from tests.system.agent.conftest import StartAgent

IN_AGENT = ("--task-types", "http,noop")
MEGABYTE = 1024 * 1024


def http(url: str, **fields: object) -> job_pb2.Task:
    return job_pb2.Task(http=job_pb2.HttpTask(url=url, **fields))  # type: ignore[arg-type]


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    async with HttpServer() as running:
        yield running


async def silence(_: Received, reader: asyncio.StreamReader, _w: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_response_is_output_status_and_outputs(
    controller: FakeController, start_agent: StartAgent, server: HttpServer
) -> None:
    server.answers |= {
        "/": redirect("/there?token=secret"),
        "/there": reply(body=b"hello\n", X_Kind="greeting", Set_Cookie="session=1"),
    }
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        assert "http" in session.hello.task_types
        (key,) = session.assign(http(server.url(), method="post", body="x"))
        result = await session.expect("result", key)
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED
    assert (result.exit_code, result.message) == (200, "HTTP 200 OK")
    output = controller.output_of(key).streams
    assert bytes(output[1]) == b"hello\n"
    said = output[2].decode().splitlines()
    assert said[0] == f"302 {server.url('/')} → {server.url('/there?token=secret')}"
    assert said[1].startswith("HTTP 200 OK, 6 bytes in ")
    outputs = MessageToDict(result.outputs)
    assert (outputs["status"], outputs["bytes"]) == (200, 6)
    assert outputs["url"] == server.url("/there?token=secret")
    assert outputs["headers"] == {"content-length": "6", "x-kind": "greeting"}


async def test_a_request_names_its_attempt_and_what_the_job_says_wins(
    controller: FakeController, start_agent: StartAgent, server: HttpServer
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (key,) = session.assign(http(server.url()))
        await session.expect("result", key)
        given = {"user-agent": "mine", "Kronforce-Fence": "none", "X-Ours": "größe\n"}
        (other,) = session.assign(http(server.url(), headers=given, method="Put", body="größe"))
        await session.expect("result", other)
    first, second = server.received
    assert first.headers["kronforce-execution-id"] == key[0]
    assert first.headers["kronforce-fence"] == str(key[1])
    assert first.headers["user-agent"].startswith("kronforce/")
    assert (second.method, second.body.decode()) == ("PUT", "größe")
    assert (second.headers["user-agent"], second.headers["kronforce-fence"]) == ("mine", "none")
    assert second.headers["x-ours"].encode("latin-1").decode() == "größe"


@pytest.mark.parametrize(
    ("status", "expect", "state"),
    [
        (204, None, ex.EXECUTION_STATE_SUCCEEDED),
        (299, None, ex.EXECUTION_STATE_SUCCEEDED),
        (404, 404, ex.EXECUTION_STATE_SUCCEEDED),
        (302, 302, ex.EXECUTION_STATE_SUCCEEDED),
        (200, 201, ex.EXECUTION_STATE_FAILED),
        (404, None, ex.EXECUTION_STATE_FAILED),
        (500, None, ex.EXECUTION_STATE_FAILED),
    ],
)
async def test_the_status_is_the_exit_code_and_what_was_expected_decides(
    controller: FakeController,
    start_agent: StartAgent,
    server: HttpServer,
    status: int,
    expect: int | None,
    state: int,
) -> None:
    server.answers["/"] = reply(f"{status} Whatever", Location="http://127.0.0.1:1/")
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (key,) = session.assign(http(server.url(), expect_status=expect))
        result = await session.expect("result", key)
    assert (result.state, result.exit_code) == (state, status)
    if state == ex.EXECUTION_STATE_FAILED:
        assert result.state_reason == "http_status"
        wanted = expect or "a status from 200 to 299"
        assert (
            result.message
            == f"HTTP {status} Whatever of http://127.0.0.1:{server.port}; expected {wanted}"
        )


@pytest.mark.parametrize(
    ("fields", "reason", "says"),
    [
        ({"url": "http://169.254.169.254/latest/"}, "egress_refused", "metadata"),
        ({"url": "http://no-such-host.invalid/"}, "dns_failed", "no address"),
        ({"url": "http://127.0.0.1:1/"}, "connect_failed", "connection refused"),
        ({"url": "{{URL}}"}, "start_failed", "http://"),
        ({"url": "http://h/", "method": "BREW"}, "start_failed", "none of GET"),
        ({"url": "http://h/", "headers": {"A": "x\r\nB: y"}}, "start_failed", "headers.A has"),
        ({"url": "http://h/", "headers": {"Host": "x"}}, "start_failed", "headers.Host is set"),
        (
            {"url": "https://h/", "tls": job_pb2.HttpTls(ca_pem="x")},
            "start_failed",
            "no certificate",
        ),
    ],
)
async def test_what_cannot_be_asked_says_why(
    controller: FakeController,
    start_agent: StartAgent,
    fields: dict[str, object],
    reason: str,
    says: str,
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (key,) = session.assign(http(**fields))  # type: ignore[arg-type]
        result = await session.expect("result", key)
    assert (result.state, result.state_reason) == (ex.EXECUTION_STATE_FAILED, reason)
    assert says in result.message
    assert not result.HasField("exit_code")
    assert not result.HasField("outputs")


async def test_a_response_that_is_too_large_fails_and_keeps_what_came(
    controller: FakeController, start_agent: StartAgent, server: HttpServer
) -> None:
    server.answers["/"] = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (key,) = session.assign(http(server.url(), max_response_bytes=1000))
        result = await session.expect("result", key)
    assert (result.state, result.state_reason) == (ex.EXECUTION_STATE_FAILED, "response_too_large")
    assert not result.HasField("exit_code")
    assert MessageToDict(result.outputs)["status"] == 200
    assert len(controller.output_of(key).streams[1]) == 1000


async def test_a_cancel_ends_a_request_that_waits_for_its_answer(
    controller: FakeController, start_agent: StartAgent, server: HttpServer
) -> None:
    server.answers["/"] = silence
    async with start_agent(*IN_AGENT), asyncio.timeout(30):
        session = await controller.session()
        (key,) = session.assign(http(server.url()))
        await server.asked.acquire()
        session.send(cancel(key))
        result = await session.expect("result", key)
        await server.closed.acquire()
    assert result.state == ex.EXECUTION_STATE_CANCELLED


@contextmanager
def nobody_answers() -> Iterator[str]:
    """An address whose port drops SYNs: its queue of connections is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}/"
        for filler in fillers:
            filler.close()


async def test_a_cancel_ends_a_request_that_still_connects(
    controller: FakeController, start_agent: StartAgent
) -> None:
    with nobody_answers() as url:
        async with start_agent(*IN_AGENT), asyncio.timeout(30):
            session = await controller.session()
            (key,) = session.assign(http(url))
            await session.expect("accepted", key)
            session.send(cancel(key))
            result = await session.expect("result", key)
    assert result.state == ex.EXECUTION_STATE_CANCELLED


async def test_a_request_ends_by_its_timeout(
    controller: FakeController, start_agent: StartAgent, server: HttpServer
) -> None:
    server.answers["/"] = silence
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        assignment = controller.assignment(http(server.url()))
        assignment.assignment.timeout.FromMilliseconds(50)
        session.send(assignment)
        result = await session.expect("result")
    assert result.state == ex.EXECUTION_STATE_TIMED_OUT


async def test_a_body_is_read_only_as_fast_as_it_is_stored(
    controller: FakeController, start_agent: StartAgent, server: HttpServer
) -> None:
    body = b"".join(n.to_bytes(4, "big") for n in range(4 * MEGABYTE))
    server.answers["/"] = reply(body=body)
    controller.initial_credit = 64 * 1024
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (key,) = session.assign(http(server.url()))
        result = await session.expect("result", key)
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED
    assert controller.output_of(key).sha256() == hashlib.sha256(body).hexdigest()
    # One block of the network may overdraw it.
    assert controller.most_unacked <= 2 * 64 * 1024


async def test_without_credit_nothing_more_is_taken_from_the_server(
    controller: FakeController, start_agent: StartAgent, server: HttpServer
) -> None:
    full = asyncio.Event()

    async def pour(_: Received, _r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not full.is_set():
            writer.write(b"x" * 65_536)
            if writer.transport.get_write_buffer_size() > 0:
                full.set()
            await asyncio.sleep(0)
        await writer.drain()

    server.answers["/"] = pour
    controller.initial_credit = 64 * 1024
    controller.store_output = False
    async with start_agent(*IN_AGENT), asyncio.timeout(60):
        session = await controller.session()
        (key,) = session.assign(http(server.url()))
        await controller.stored(key, 64 * 1024)
        await full.wait()
        session.send(cancel(key))
        await server.closed.acquire()
        controller.store_output = True
        session.close()
        result = await (await controller.session(2)).expect("result", key)
    assert result.state == ex.EXECUTION_STATE_CANCELLED
    assert result.stdout_bytes <= 3 * 64 * 1024


async def test_hundreds_at_a_time_are_all_answered(
    controller: FakeController, start_agent: StartAgent, server: HttpServer
) -> None:
    everybody = asyncio.Event()

    async def together(
        received: Received, _r: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if len(server.received) == 300:
            everybody.set()
        await everybody.wait()
        writer.write(reply(body=received.target.encode()))

    server.answers["/"] = together
    async with start_agent(*IN_AGENT, "--slots", "512"), asyncio.timeout(60):
        session = await controller.session()
        keys = session.assign(*[http(server.url(f"/?{n}", "localhost")) for n in range(300)])
        results = await asyncio.gather(*[session.expect("result", key) for key in keys])
    assert {result.exit_code for result in results} == {200}
    said = [bytes(controller.output_of(key).streams[1]) for key in keys]
    assert said == [f"/?{n}".encode() for n in range(300)]


async def test_secrets_that_a_server_sends_back_are_masked_wherever_they_come_out(
    controller: FakeController, start_agent: StartAgent, server: HttpServer
) -> None:
    secret = "s3cret-t0ken"

    async def echo(received: Received, _r: object, writer: asyncio.StreamWriter) -> None:
        told = received.headers["authorization"]
        writer.write(f"HTTP/1.1 403 not {told}\r\nX-Echo: {told}\r\n\r\n{told[:12]}".encode())
        await writer.drain()
        writer.write(told[12:].encode())

    server.answers |= {"/": redirect(f"/in?token={secret}"), "/in": echo}
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        task = http(server.url(), headers={"Authorization": f"Bearer {secret}"})
        (key,) = session.assign(task, secrets=[secret.encode()])
        result = await session.expect("result", key)
    assert secret.encode() not in result.SerializeToString()
    assert result.message.startswith("HTTP 403 not Bearer ******** of ")
    outputs = MessageToDict(result.outputs)
    assert outputs["headers"]["x-echo"] == "Bearer ********"
    assert outputs["url"].endswith("/in?token=********")
    output = controller.output_of(key).streams
    assert bytes(output[1]) == b"Bearer ********"
    assert b"/in?token=********\n" in output[2]
