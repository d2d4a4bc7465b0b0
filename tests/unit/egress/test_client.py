"""The client over real sockets; names are the test's to resolve."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kronforce_egress.addresses import Address
from kronforce_egress.client import EgressClient
from kronforce_egress.errors import (
    BadRequest,
    BadResponse,
    CannotConnect,
    EgressError,
    NameNotResolved,
    Refused,
    ResponseTooLarge,
    TimedOut,
    TooManyRedirects,
)
from kronforce_egress.message import RESPONSE_BYTES, Hop, Request
from kronforce_egress.policy import AGENT, CONTROLLER
from kronforce_egress.urls import parse_url
from tests.fakes.http_server import HttpServer, Received, redirect, reply

METADATA = "169.254.169.254"


class Names:
    """A resolver of the test's: the answers of a name in turn, the last one for ever."""

    def __init__(self, **names: list[list[str]]) -> None:
        self._names = {name.replace("_", "."): list(turns) for name, turns in names.items()}
        self.asked: list[str] = []

    async def resolve(self, name: str) -> Sequence[Address]:
        self.asked.append(name)
        turns = self._names.get(name) or [["127.0.0.1"]]
        answer = turns.pop(0) if len(turns) > 1 else turns[0]
        if not answer:
            raise NameNotResolved(f"{name} has no address")
        return [ip_address(each) for each in answer]


async def fetch(
    client: EgressClient, url: str, hops: list[Hop] | None = None, **fields: object
) -> tuple[int, bytes]:
    async def hear(hop: Hop) -> None:
        if hops is not None:
            hops.append(hop)

    request = Request(url=parse_url(url), **fields)  # type: ignore[arg-type]
    async with asyncio.timeout(30), client.send(request, hear) as response:
        return response.status, b"".join([block async for block in response.body])


async def test_a_name_is_kept_in_host_while_the_checked_address_is_connected_to() -> None:
    names = Names(api_example=[["127.0.0.1"]])
    async with HttpServer() as server:
        server.answers["/x"] = reply(body=b"hello")
        answer = await fetch(EgressClient(AGENT, names), server.url("/x?q=1", "API.example."))

    assert answer == (200, b"hello")
    (received,) = server.received
    assert (received.method, received.target) == ("GET", "/x?q=1")
    assert received.headers["host"] == f"api.example:{server.port}"
    assert received.headers["accept-encoding"] == "identity"
    assert names.asked == ["api.example"]


async def test_a_name_whose_answer_changes_is_looked_up_once_for_each_connection() -> None:
    names = Names(rebind_example=[["127.0.0.1"], [METADATA]])
    async with HttpServer() as server:
        server.answers["/"] = reply(body=b"first")
        client = EgressClient(AGENT, names)
        assert await fetch(client, server.url("/", "rebind.example")) == (200, b"first")
        with pytest.raises(Refused):
            await fetch(client, server.url("/", "rebind.example"))

    assert (server.connections, names.asked) == (1, ["rebind.example"] * 2)


@pytest.mark.parametrize("answers", [["127.0.0.1", METADATA], [METADATA, "127.0.0.1"]])
async def test_one_bad_address_among_good_ones_opens_no_connection(answers: list[str]) -> None:
    async with HttpServer() as server:
        client = EgressClient(AGENT, Names(mixed_example=[answers]))
        with pytest.raises(Refused, match="metadata"):
            await fetch(client, server.url("/", "mixed.example"))

    assert server.connections == 0


async def test_the_controller_opens_no_connection_to_its_own_host() -> None:
    async with HttpServer() as server:
        with pytest.raises(Refused, match="loopback"):
            await fetch(EgressClient(CONTROLLER), server.url())
        server.answers["/"] = reply("204 No Content")
        allowed = EgressClient(CONTROLLER.allowing(["127.0.0.1"]))
        assert await fetch(allowed, server.url()) == (204, b"")

    assert server.connections == 1


async def test_the_next_address_is_tried_where_one_refuses() -> None:
    async with HttpServer() as server:
        server.answers["/"] = reply(body=b"second")
        names = Names(two_example=[["127.0.0.2", "127.0.0.1"]])
        assert await fetch(EgressClient(AGENT, names), server.url("/", "two.example")) == (
            200,
            b"second",
        )


@pytest.mark.parametrize(
    "location",
    [f"http://{METADATA}/latest", "http://[::ffff:a9fe:a9fe]/", "//evil.example/", "http://0/"],
)
async def test_a_redirect_is_checked_like_a_first_request(location: str) -> None:
    async with HttpServer() as server:
        server.answers["/"] = redirect(location)
        client = EgressClient(AGENT, Names(evil_example=[[METADATA]]))
        with pytest.raises((Refused, BadResponse)):
            await fetch(client, server.url())

    assert server.connections == 1


async def test_credentials_stay_with_the_origin_they_were_given_for() -> None:
    headers = (("Authorization", "Bearer x"), ("X-Api-Key", "k"), ("Accept", "a/b"))
    hops: list[Hop] = []
    async with HttpServer() as first, HttpServer() as second:
        first.answers |= {"/": redirect("/same"), "/same": redirect(second.url("/other"))}
        second.answers["/other"] = redirect(first.url("/back"))
        first.answers["/back"] = reply(body=b"done")
        await fetch(EgressClient(AGENT), first.url(), hops, headers=headers)

    same, back = first.received[1:]
    (other,) = second.received
    assert same.headers["authorization"] == "Bearer x"
    assert "authorization" not in other.headers
    assert "x-api-key" not in other.headers
    assert other.headers["accept"] == "a/b"
    assert "authorization" not in back.headers
    assert [hop.target.target for hop in hops] == ["/same", "/other", "/back"]


async def test_a_post_is_repeated_with_its_body_only_where_the_redirect_says_so() -> None:
    fields = {"method": "POST", "body": b"data", "headers": (("Content-Type", "text/plain"),)}
    async with HttpServer() as server:
        server.answers |= {
            "/307": redirect("/end", "307 Temporary Redirect"),
            "/302": redirect("/end"),
            "/end": reply(),
        }
        await fetch(EgressClient(AGENT), server.url("/307"), **fields)
        await fetch(EgressClient(AGENT), server.url("/302"), **fields)

    _, kept, _, dropped = server.received
    assert (kept.method, kept.body, kept.headers["content-type"]) == ("POST", b"data", "text/plain")
    assert (dropped.method, dropped.body) == ("GET", b"")
    assert "content-type" not in dropped.headers
    assert "content-length" not in dropped.headers


async def test_redirects_have_an_end() -> None:
    async with HttpServer() as server:
        server.answers["/"] = redirect("/")
        with pytest.raises(TooManyRedirects, match="max_redirects is 3"):
            await fetch(EgressClient(AGENT), server.url(), max_redirects=3)

    assert server.connections == 4


@pytest.mark.parametrize("fields", [{"max_redirects": 0}, {"wanted_status": 302}])
async def test_a_redirect_that_is_wanted_is_the_answer(fields: dict[str, int]) -> None:
    async with HttpServer() as server:
        server.answers["/"] = reply("302 Found", b"moved", Location="/elsewhere")
        assert await fetch(EgressClient(AGENT), server.url(), **fields) == (302, b"moved")


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_ends_at_its_limit(announced: bool) -> None:
    async def pour(_: Received, _r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    got = bytearray()

    async def take(url: str) -> None:
        request = Request(url=parse_url(url), max_bytes=100_000)
        async with asyncio.timeout(30), EgressClient(AGENT).send(request) as response:
            async for block in response.body:
                got.extend(block)

    async with HttpServer() as server:
        server.answers["/"] = reply(body=b"x" * 200_000) if announced else pour
        with pytest.raises(ResponseTooLarge, match="max_response_bytes"):
            await take(server.url())

    assert len(got) == (0 if announced else 100_000)


async def test_a_body_of_just_the_limit_is_whole() -> None:
    async with HttpServer() as server:
        server.answers["/"] = reply(body=b"x" * 1000)
        answer = await fetch(EgressClient(AGENT), server.url(), max_bytes=1000)

    assert answer == (200, b"x" * 1000)


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (b"", BadResponse, "without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", BadResponse, "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", BadResponse, "before the end"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", BadResponse, "HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: " + b"a" * 200_000 + b"\r\n\r\n", BadResponse, "HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", BadResponse, "HTTP"),
    ],
)
async def test_an_answer_that_is_none_says_so(
    answer: bytes, error: type[EgressError], says: str
) -> None:
    async with HttpServer() as server:
        server.answers["/"] = answer
        with pytest.raises(error, match=says) as raised:
            await fetch(EgressClient(AGENT), server.url("/?token=secret"))

    assert "secret" not in str(raised.value)


async def test_a_silent_server_is_given_up_after_the_silence_that_was_allowed() -> None:
    async def wait(_: Received, reader: asyncio.StreamReader, _w: asyncio.StreamWriter) -> None:
        await reader.read()

    async with HttpServer() as server:
        server.answers["/"] = wait
        with pytest.raises(TimedOut, match=r"said nothing for 0\.05 s"):
            await fetch(EgressClient(AGENT), server.url(), idle_secs=0.05)


async def test_a_policy_may_limit_the_time_in_all() -> None:
    async def drip(_: Received, _r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.001)

    assert CONTROLLER.total_secs
    async with HttpServer() as server:
        server.answers["/"] = drip
        with pytest.raises(TimedOut, match=r"longer than 0\.1 s in all"):
            await fetch(EgressClient(replace(AGENT, total_secs=0.1)), server.url())


async def test_nobody_at_a_port_says_which_address_refused() -> None:
    async with HttpServer() as server:
        url = server.url("/", "gone.example")
    with pytest.raises(CannotConnect, match=r"gone\.example \(127\.0\.0\.1\) port \d+: conn.*ref"):
        await fetch(EgressClient(AGENT, Names()), url)


async def test_a_name_that_nobody_knows_is_told_by_the_system() -> None:
    with pytest.raises(NameNotResolved, match=r"no-such-host\.invalid has no address"):
        await fetch(EgressClient(AGENT), "http://no-such-host.invalid/")


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with HttpServer() as server:
        server.answers["/"] = reply(body=b"direct")
        assert await fetch(EgressClient(AGENT), server.url()) == (200, b"direct")


async def test_a_header_that_cannot_be_sent_is_no_request() -> None:
    async with HttpServer() as server:
        with pytest.raises(BadRequest):
            await fetch(EgressClient(AGENT), server.url(), headers=(("a b", "c"),))

    assert server.received == []


async def test_what_is_not_taken_is_not_read() -> None:
    written = 0

    async def pour(_: Received, _r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await writer.drain()
            writer.write(b"x" * 65_536)
            written += 65_536
            blocked.set() if writer.transport.get_write_buffer_size() else None

    blocked = asyncio.Event()
    async with HttpServer() as server, asyncio.timeout(30):
        server.answers["/"] = pour
        async with EgressClient(AGENT).send(Request(url=parse_url(server.url()))) as response:
            await anext(aiter(response.body))
            await blocked.wait()
            before = written
            await asyncio.sleep(0)
            assert written <= before + 65_536
        await server.closed.acquire()

    assert written < RESPONSE_BYTES


async def test_leaving_early_closes_the_connection() -> None:
    async def wait(_: Received, reader: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        w.write(b"HTTP/1.1 200 OK\r\n\r\nsome")
        await reader.read()

    async with HttpServer() as server, asyncio.timeout(30):
        server.answers["/"] = wait
        async with EgressClient(AGENT).send(Request(url=parse_url(server.url()))) as response:
            assert await anext(aiter(response.body)) == b"some"
        await server.closed.acquire()


PATHS = st.text(max_size=30).filter(lambda text: not set(text) & {"\0"} and text.isprintable())


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, label=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,8}[a-z]", fullmatch=True))
def test_a_server_sees_just_what_was_checked(path: str, label: str) -> None:
    async def check() -> None:
        names = Names()
        async with HttpServer() as server:
            url = parse_url(server.url(f"/{path}", f"{label}.example"))
            server.answers[url.target.partition("?")[0]] = reply(body=b"seen")
            assert await fetch(EgressClient(AGENT, names), str(url)) == (200, b"seen")
        (received,) = server.received
        assert names.asked == [url.host.name]
        assert (received.target, received.headers["host"]) == (url.target, url.authority)

    asyncio.run(check())
