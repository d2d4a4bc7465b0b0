"""TLS as a client: real certificates, a real server, who is believed and who we are."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kronforce_egress.client import EgressClient
from kronforce_egress.errors import BadRequest, TlsFailed
from kronforce_egress.policy import AGENT
from kronforce_egress.trust import Trust, make_context
from tests.fakes.http_server import HttpServer, redirect, reply
from tests.system.tls.certificates import make_authority, make_client, make_server
from tests.unit.egress.test_client import Names, fetch

Talk = Callable[[StreamReader, StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Files:
    folder: Path
    ca: str
    certificate: str
    key: str
    stranger: str
    """A key that fits no certificate here."""

    def server(self, *, wants_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        if wants_client:
            context.load_verify_locations(cadata=self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    @property
    def ours(self) -> Trust:
        return Trust(ca_pem=self.ca, certificate_pem=self.certificate, key_pem=self.key)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    authority = make_authority(folder, "ca")
    make_server(folder, authority)
    certificate, key = make_client(folder, authority, "client")
    _, stranger = make_client(folder, authority, "stranger")
    texts = (path.read_text() for path in (authority.certificate, certificate, key, stranger))
    return Files(folder, *texts)


async def test_a_servers_certificate_is_checked_against_the_given_authority(files: Files) -> None:
    async with HttpServer(files.server()) as server:
        server.answers["/"] = reply(body=b"safe")
        url = server.url("/", "localhost")
        assert await fetch(EgressClient(AGENT), url, trust=Trust(ca_pem=files.ca)) == (200, b"safe")
        assert await fetch(EgressClient(AGENT), server.url(), trust=Trust(ca_pem=files.ca))


async def test_an_authority_that_the_system_does_not_know_is_not_trusted(files: Files) -> None:
    async with HttpServer(files.server()) as server:
        with pytest.raises(TlsFailed, match=r"not trusted \(.*\); tls\.ca_pem"):
            await fetch(EgressClient(AGENT), server.url())

    assert server.received == []


async def test_a_certificate_for_another_name_is_not_trusted(files: Files) -> None:
    async with HttpServer(files.server()) as server:
        url = server.url("/", "other.example")
        with pytest.raises(TlsFailed, match=r"other\.example: its certificate is not trusted"):
            await fetch(EgressClient(AGENT, Names()), url, trust=Trust(ca_pem=files.ca))


async def test_a_client_shows_its_certificate_to_a_server_that_asks(files: Files) -> None:
    async with HttpServer(files.server(wants_client=True)) as server:
        server.answers["/"] = reply(body=b"known")
        assert await fetch(EgressClient(AGENT), server.url(), trust=files.ours) == (200, b"known")

    assert "('commonName', 'client')" in str(server.received[0].peer_certificate)


async def test_a_client_without_a_certificate_is_sent_away_with_a_word(files: Files) -> None:
    # In a thread: asyncio's server closes without the alert that others send.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        context = files.server(wants_client=True)
        serving = asyncio.create_task(asyncio.to_thread(refuse, listening, context))
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(TlsFailed, match="certificate required"):
            await fetch(EgressClient(AGENT), url, trust=Trust(ca_pem=files.ca))
        await serving


def refuse(listening: socket.socket, context: ssl.SSLContext) -> None:
    """A handshake that fails, with an alert; then whatever comes, to its end."""
    plain, _ = listening.accept()
    kept = plain.dup()
    with (
        kept,
        context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as connection,
    ):
        with contextlib.suppress(ssl.SSLError):
            connection.do_handshake()
        kept.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while kept.recv(65_536):
                pass


async def test_a_clients_certificate_stays_with_the_origin_it_was_given_for(files: Files) -> None:
    wanting = files.server()
    wanting.load_verify_locations(cadata=files.ca)
    wanting.verify_mode = ssl.CERT_OPTIONAL
    async with HttpServer(wanting) as first, HttpServer(wanting) as second:
        first.answers["/"] = redirect(second.url())
        second.answers["/"] = reply(body=b"other")
        assert await fetch(EgressClient(AGENT), first.url(), trust=files.ours) == (200, b"other")

    assert first.received[0].peer_certificate
    assert not second.received[0].peer_certificate


@asynccontextmanager
async def listener(
    talk: Callable[[StreamReader, StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A port that speaks something else; what to fetch from it."""
    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_https_to_a_port_that_speaks_http_says_so() -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.read(1)
        writer.write(reply("400 Bad Request"))
        writer.close()

    async with listener(answer) as url:
        with pytest.raises(TlsFailed, match="does not speak TLS on this port"):
            await fetch(EgressClient(AGENT), url)


async def test_a_request_cancelled_in_the_handshake_leaves_no_connection() -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    async def wait(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.read(1)
        begun.set()
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()
        over.set()

    async with listener(wait) as url, asyncio.timeout(30):
        sending = asyncio.ensure_future(fetch(EgressClient(AGENT), url))
        await begun.wait()
        sending.cancel()
        await asyncio.wait({sending})
        await over.wait()

    assert sending.cancelled()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_key_leaves_no_file_and_no_descriptor(files: Files) -> None:
    before = descriptors()
    make_context(files.ours)

    assert descriptors() == before


def test_checks_are_on_and_old_tls_is_off(files: Files) -> None:
    for trust in (Trust(), files.ours):
        context = make_context(trust)
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_what_is_no_certificate_or_key_is_said_by_name(files: Files) -> None:
    encrypted = subprocess.run(
        ["openssl", "pkey", "-aes256", "-passout", "pass:x"],
        input=files.key,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    wrong = {
        "ca_pem": Trust(ca_pem="nonsense"),
        "one is missing": Trust(certificate_pem=files.certificate),
        "not the key of": Trust(certificate_pem=files.certificate, key_pem=files.stranger),
        "in PEM form": Trust(certificate_pem="nonsense", key_pem=files.key),
        "is encrypted": Trust(certificate_pem=files.certificate, key_pem=encrypted),
    }
    for says, trust in wrong.items():
        with pytest.raises(BadRequest, match=says):
            make_context(trust)


def test_a_trust_shows_nothing_of_itself(files: Files) -> None:
    assert "KEY" not in repr(files.ours)
