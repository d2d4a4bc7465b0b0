"""`http`: one request, made here. The body goes to standard output as it comes.

What may be connected to is the egress package's business, under its policy for agents. The status
is the exit code. Credentials live in addresses, headers and bodies: messages name the site alone,
and whoever runs this masks the job's secrets in what is written, said and put out. Nothing is cut
short on the way there, because half a secret is not found.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING

from google.protobuf.struct_pb2 import Struct

from kronforce.v1 import execution_pb2 as ex
from kronforce.v1 import job_pb2
from kronforce_agent.facts import version
from kronforce_agent.outcome import Outcome
from kronforce_agent.tasks.kinds import CannotStart, Context
from kronforce_egress.errors import BadRequest, EgressError
from kronforce_egress.headers import (
    HEADERS_BYTES_MAX,
    HEADERS_MAX,
    METHODS,
    Header,
    header_problem,
    headers_size,
)
from kronforce_egress.message import IDLE_SECS, Hop, Request, Response
from kronforce_egress.policy import AGENT
from kronforce_egress.trust import Trust
from kronforce_egress.urls import parse_url

if TYPE_CHECKING:
    from kronforce_egress.client import EgressClient

MAX_REDIRECTS = 10
MAX_RESPONSE_BYTES = 64 << 20
"""Defaults of the contract."""
OUTPUT_HEADERS_BYTES = 16 << 10
"""Of a response's headers in the outputs, which travel in one frame with the result."""
HIDDEN_HEADERS = frozenset({"set-cookie", "set-cookie2", "www-authenticate", "proxy-authenticate"})
"""Sessions and challenges: what a later reader of the outputs should not get."""
PHRASE_MAX = 60
"""A longer one is left out: half of it might be half a secret, which is not masked."""


async def run(task: job_pb2.Task, context: Context) -> Outcome:
    """Make the request. Raises CannotStart where it cannot be made as it stands."""
    loaded = _client.cache_info().currsize
    # Loading the client takes 60 ms once, which is too long for the loop.
    client = _client() if loaded else await asyncio.to_thread(_client)
    return await perform(client, task.http, context)


@lru_cache(maxsize=1)
def _client() -> EgressClient:
    from kronforce_egress.client import EgressClient  # noqa: PLC0415 - only who has http jobs

    return EgressClient(AGENT)


async def perform(client: EgressClient, http: job_pb2.HttpTask, context: Context) -> Outcome:
    """The same with a given client."""
    exchange = _Exchange(http, context)
    try:
        return await exchange.run(client, _request(http, context))
    except BadRequest as error:
        raise CannotStart(f"the request cannot be made: {error}") from None
    except EgressError as error:
        return Outcome(
            state=ex.EXECUTION_STATE_FAILED,
            reason=error.reason,
            message=str(error),
            outputs=exchange.outputs(),
        )


class _Exchange:
    """One request's way to its end, and what is known of it so far."""

    def __init__(self, http: job_pb2.HttpTask, context: Context) -> None:
        self._http = http
        self._context = context
        self._response: Response | None = None
        self._received = 0

    async def run(self, client: EgressClient, request: Request) -> Outcome:
        began = self._context.clock.monotonic()
        async with client.send(request, self._redirected) as response:
            self._response = response
            async for block in response.body:
                self._received += len(block)
                await self._context.output.write(ex.OUTPUT_STREAM_STDOUT, block)
            taken = self._context.clock.monotonic() - began
            await self._say(f"{_status(response)}, {self._received:,} bytes in {_duration(taken)}")
            return self._ended(response)

    async def _redirected(self, hop: Hop) -> None:
        await self._say(f"{hop.status} {hop.source} → {hop.target}")

    async def _say(self, line: str) -> None:
        await self._context.output.write(ex.OUTPUT_STREAM_STDERR, f"{line}\n".encode())

    def _ended(self, response: Response) -> Outcome:
        wanted = self._http.expect_status if self._http.HasField("expect_status") else None
        status = response.status
        if status == wanted or (wanted is None and 200 <= status <= 299):
            return Outcome(
                state=ex.EXECUTION_STATE_SUCCEEDED,
                message=_status(response),
                exit_code=status,
                outputs=self.outputs(),
            )
        expected = wanted or "a status from 200 to 299"
        return Outcome(
            state=ex.EXECUTION_STATE_FAILED,
            reason="http_status",
            message=f"{_status(response)} of {response.url.site}; expected {expected}",
            exit_code=status,
            outputs=self.outputs(),
        )

    def outputs(self) -> Struct | None:
        """Status, headers and size, as far as there is an answer."""
        if self._response is None:
            return None
        outputs = Struct()
        outputs.update(
            {
                "status": self._response.status,
                "bytes": self._received,
                "url": str(self._response.url),
                "headers": _shown_headers(self._response.headers),
            }
        )
        return outputs


def _request(http: job_pb2.HttpTask, context: Context) -> Request:
    """From the task, its placeholders filled in: so everything is checked again."""
    method = http.method.upper() or "GET"
    if method not in METHODS:
        raise CannotStart(f"task.method is none of {', '.join(METHODS)}")
    return Request(
        url=parse_url(http.url),
        method=method,
        headers=_headers(http, context),
        body=http.body.encode(),
        trust=Trust(
            ca_pem=http.tls.ca_pem,
            certificate_pem=http.tls.client_certificate_pem,
            key_pem=http.tls.client_key_pem,
        ),
        max_redirects=http.max_redirects if http.HasField("max_redirects") else MAX_REDIRECTS,
        wanted_status=http.expect_status,
        max_bytes=(
            http.max_response_bytes if http.HasField("max_response_bytes") else MAX_RESPONSE_BYTES
        ),
        idle_secs=max(IDLE_SECS, context.timeout_secs),
    )


def _headers(http: job_pb2.HttpTask, context: Context) -> tuple[Header, ...]:
    given = tuple(http.headers.items())
    for name, value in given:
        problem = header_problem(name, value)
        if problem:
            raise CannotStart(f"task.headers.{name[:100]} {problem}")
    if len(given) > HEADERS_MAX or headers_size(given) > HEADERS_BYTES_MAX:
        raise CannotStart(
            f"task.headers: at most {HEADERS_MAX} and {HEADERS_BYTES_MAX:,} bytes together, "
            "placeholders filled in"
        )
    names = {name.lower() for name, _ in given}
    defaults = (
        ("User-Agent", _user_agent()),
        ("Accept", "*/*"),
        ("Kronforce-Execution-Id", context.execution_id),
        ("Kronforce-Fence", str(context.fence)),
    )
    return (*(each for each in defaults if each[0].lower() not in names), *given)


@lru_cache(maxsize=1)
def _user_agent() -> str:
    return f"kronforce/{version()}"


def _status(response: Response) -> str:
    phrase = response.phrase.strip()
    return f"HTTP {response.status} {phrase if len(phrase) <= PHRASE_MAX else ''}".rstrip()


def _duration(secs: float) -> str:
    return f"{secs * 1000:.0f} ms" if secs < 1 else f"{secs:.1f} s"


def _shown_headers(headers: tuple[Header, ...]) -> dict[str, str]:
    """By lower-case name, repeated ones joined as HTTP allows, as many as there is room for."""
    shown: dict[str, str] = {}
    room = OUTPUT_HEADERS_BYTES
    for name, value in headers:
        key = name.lower()
        room -= len(name) + len(value)
        if key not in HIDDEN_HEADERS and room >= 0:
            shown[key] = f"{shown[key]}, {value}" if key in shown else value
    return shown
