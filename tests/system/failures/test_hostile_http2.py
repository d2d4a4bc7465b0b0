"""Frames that no proper client sends: each costs its sender a call or the connection, nobody else.

The controller goes on serving others, and holds no more when the sender has gone.
"""

import struct
from collections.abc import AsyncIterator, Iterable, Iterator

import pytest
import pytest_asyncio

from tests.fakes import http2
from tests.system.failures.abandoning import CONNECT, KEY, LIST_JOBS, WATCH_RUNS
from tests.system.rig.cluster import Cluster, cluster
from tests.system.rig.footprint import ONE_ARENA, WITH_METRICS, footprint, settled

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20
# What the server takes of one message and of one call's metadata.
MESSAGE_LIMIT, METADATA_LIMIT = 4 * MIB, 16 << 10
ROUNDS = 4
# What one attack takes for a moment, some 50 MiB, may lie beside what another took.
ROOM_BYTES = 128 * MIB


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Give a controller that tells of itself, to all tests here."""
    async with cluster(tmp_path_factory.mktemp("hostile"), "") as one:
        await one.start_controller(**WITH_METRICS, **ONE_ARENA)
        yield one


def begin(path: str, *more: tuple[str, str]) -> bytes:
    return http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.call_headers(path, KEY, *more))


def data(payload: bytes) -> bytes:
    return http2.frame(http2.DATA, 0, 1, payload)


def message_of_4_gib() -> Iterator[bytes]:
    """Its length says so; the server must not wait for it, or make room."""
    yield begin(CONNECT)
    yield data(http2.message(b"x" * 1_000, length=(1 << 32) - 1))


def message_beyond_the_limit() -> Iterator[bytes]:
    yield begin(CONNECT)
    yield data(http2.message(b"", length=MESSAGE_LIMIT + 1))


def frame_beyond_the_limit() -> Iterator[bytes]:
    """More in one frame than the server's settings allow."""
    yield begin(CONNECT)
    yield data(bytes((1 << 24) - 1))


def data_beyond_the_window() -> Iterator[bytes]:
    """Flow control is not asked."""
    yield begin(CONNECT)
    for _ in range(2_000):
        yield data(bytes(16_384))


def metadata_beyond_the_limit() -> Iterator[bytes]:
    """Within one frame's size several times over, by continuation."""
    block = http2.call_headers(LIST_JOBS, KEY, ("x-much", "m" * 4 * METADATA_LIMIT))
    yield http2.frame(http2.HEADERS, 0, 1, block[:16_000])
    for start in range(16_000, len(block), 16_000):
        last = start + 16_000 >= len(block)
        flags = http2.END_HEADERS if last else 0
        yield http2.frame(http2.CONTINUATION, flags, 1, block[start : start + 16_000])


def continuation_without_end() -> Iterator[bytes]:
    """A header block that goes on for ever."""
    yield http2.frame(http2.HEADERS, 0, 1, http2.call_headers(LIST_JOBS, KEY))
    piece = http2.headers([("x-more", "m" * 8_000)])
    for _ in range(4_000):
        yield http2.frame(http2.CONTINUATION, 0, 1, piece)


def a_thousand_small_headers() -> Iterator[bytes]:
    more = [(f"x-{number}", "m") for number in range(1_000)]
    yield begin(WATCH_RUNS, *more)


def settings_without_end() -> Iterator[bytes]:
    """Each asks for an answer that nobody reads."""
    for _ in range(200):
        yield http2.frame(http2.SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)) * 200


def pings_without_end() -> Iterator[bytes]:
    for _ in range(200):
        yield http2.frame(http2.PING, 0, 0, b"question") * 200


def more_streams_than_allowed() -> Iterator[bytes]:
    block = http2.call_headers(WATCH_RUNS, KEY)
    for number in range(5_000):
        yield http2.frame(http2.HEADERS, http2.END_HEADERS, 2 * number + 1, block)


def headers_that_are_none() -> Iterator[bytes]:
    yield http2.frame(http2.HEADERS, http2.END_HEADERS, 1, b"\xff" * 4_000)


ATTACKS = (
    message_of_4_gib,
    message_beyond_the_limit,
    frame_beyond_the_limit,
    data_beyond_the_window,
    metadata_beyond_the_limit,
    continuation_without_end,
    a_thousand_small_headers,
    settings_without_end,
    pings_without_end,
    more_streams_than_allowed,
    headers_that_are_none,
)


async def send(address: str, pieces: Iterable[bytes]) -> bool:
    """All of it, as far as the server takes it; whether it cut the connection over that."""
    async with http2.connected(address) as connection:
        try:
            for piece in pieces:
                await connection.send(piece)
        except ConnectionError:
            return True
        return not await connection.until_pong()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_a_hostile_sender_costs_nobody_else_anything(serving: Cluster, attack) -> None:
    await serving.client.system.status()
    quiet = await footprint(serving)
    assert (quiet.unary, quiet.streams) == (0, 0)

    for _ in range(ROUNDS):
        await send(serving.address, attack())
        # Somebody else is served, over a connection that was there before.
        await serving.client.system.status()

    after = await settled(serving, quiet)
    assert after.rss_bytes - quiet.rss_bytes < ROOM_BYTES
    assert serving.complaints() == []
