"""The server as a peer sees it: its port, its stop, keys that are revoked while it serves."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kronforce.api.call import Call
from kronforce.api.in_flight import UNARY_CEILING_SECS
from kronforce.api.key_servicer import KeyServicer
from kronforce.api.local import LocalTransport
from kronforce.api.server import Server
from kronforce.api.services import Service, endpoints_of
from kronforce.api.throttle import FAILURES, WINDOW_SECS
from kronforce.api.transport import CallFailed
from kronforce.clock import ManualClock
from kronforce.config import CannotStart
from kronforce.core.access import system_scope
from kronforce.errors import Code
from kronforce.store import keys as stored_keys
from kronforce.store.events import list_events
from kronforce.store.paging import PageRequest
from kronforce.v1 import (
    api_key_pb2,
    execution_service_pb2,
    job_service_pb2,
    key_service_pb2,
    run_pb2,
)
from tests.contract.harness import METHODS, Served, bearer, first, serve, stand_ins, until

WATCH = METHODS["ExecutionService.WatchRuns"]
GET = METHODS["JobService.GetJob"]
WHO = METHODS["KeyService.WhoAmI"]
CREATE = METHODS["KeyService.CreateKey"]
LIST = METHODS["KeyService.ListKeys"]
REVOKE = METHODS["KeyService.RevokeKey"]

LIMIT_SECS = 10


async def for_ever(_request: Any, _call: Call) -> AsyncIterator[run_pb2.RunUpdates]:
    yield run_pb2.RunUpdates()
    await asyncio.get_running_loop().create_future()


async def never(_request: Any, _call: Call) -> None:
    await asyncio.get_running_loop().create_future()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def served(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Served]:
    services = stand_ins(WatchRuns=for_ever, GetJob=never)
    async with serve(tmp_path, services, clock=clock) as served:
        yield served


async def stream_end(served: Served, metadata: dict[str, str]) -> asyncio.Task[CallFailed]:
    """A watch that is up; the task gives how it ended."""
    up = asyncio.Event()

    async def follow() -> CallFailed:
        request = execution_service_pb2.WatchRunsRequest()
        transport = served.transports["grpc"]
        async with transport.server_stream(WATCH, request, metadata=metadata) as replies:
            await anext(replies)
            up.set()
            with pytest.raises(CallFailed) as ended:
                await anext(replies)
            return ended.value

    task = asyncio.create_task(follow())
    await up.wait()
    return task


async def test_stopping_ends_streams_at_once_and_says_so(served: Served) -> None:
    async with asyncio.timeout(LIMIT_SECS):
        ended = await stream_end(served, await served.key())
        await served.server.stop(grace=LIMIT_SECS * 10)
        error = await ended
    assert (error.code, error.reason) == (Code.UNAVAILABLE, "UNAVAILABLE")


async def test_health_says_for_each_service_that_it_serves(served: Served) -> None:
    health = health_pb2_grpc.HealthStub(served.channel)
    check = health.Check(health_pb2.HealthCheckRequest(service="kronforce.v1.JobService"))
    assert (await check).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await health.Check(health_pb2.HealthCheckRequest(service="kronforce.v1.NoService"))
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_method_that_is_not_there_is_unimplemented(served: Served) -> None:
    call = served.channel.unary_unary("/kronforce.v1.JobService/Explode")
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await call(b"")
    assert missing.value.code() is grpc.StatusCode.UNIMPLEMENTED


def deeper_than_anybody_reads() -> bytes:
    request = job_service_pb2.TriggerJobRequest(job_id="x").SerializeToString()
    # Its field 3, by hand: the writer has the reader's limit.
    data = b""
    for _ in range(50):
        data = length(1, length(1, b"a") + length(2, length(5, data)))
    return request + length(3, data)


def length(number: int, data: bytes) -> bytes:
    """A length-delimited field."""
    size, head = len(data), bytearray([number << 3 | 2])
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes([*head, size]) + data


@pytest.mark.parametrize("data", [b"\xff", deeper_than_anybody_reads()], ids=["junk", "deep"])
async def test_bytes_that_are_no_request_are_refused_once_the_caller_is_known(
    served: Served, data: bytes
) -> None:
    unary = served.channel.unary_unary("/kronforce.v1.JobService/TriggerJob")
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await unary(data)
    assert unknown.value.code() is grpc.StatusCode.UNAUTHENTICATED

    metadata = tuple((await served.key()).items())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await unary(data, metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "no message of this method's type" in refused.value.details()

    stream = served.channel.unary_stream("/kronforce.v1.ExecutionService/WatchRuns")
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await anext(aiter(stream(b"\xff", metadata=metadata)))
    assert ended.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_taken_port_is_one_sentence_with_the_way_out(served: Served) -> None:
    second = Server(
        bind=served.server.address,
        endpoints=endpoints_of(stand_ins(), loopback=True),
        chain=served.chain(),
        in_flight=served.in_flight,
        tls=None,
    )
    with pytest.raises(CannotStart, match="--grpc-bind") as refused:
        await second.start()
    assert "\n" not in str(refused.value)


async def test_a_revoked_key_ends_its_streams_and_no_others(served: Served) -> None:
    doomed, safe = await served.key(name="doomed"), await served.key(name="safe")
    async with asyncio.timeout(LIMIT_SECS):
        ended = await stream_end(served, doomed)
        going = await stream_end(served, safe)
        await served.store.write(stored_keys.revoke_key, "doomed", served.clock.now_us())
        await served.keeper.recheck()
        assert (await ended).code is Code.UNAUTHENTICATED
        assert not going.done()
        with pytest.raises(CallFailed) as refused:
            await first(served.transports["grpc"], WHO, metadata=doomed)
        assert refused.value.reason == "BAD_KEY"
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)


async def test_a_key_revoked_behind_our_back_is_noticed_within_a_second(
    served: Served, clock: ManualClock, tmp_path: Path
) -> None:
    metadata = await served.key(name="doomed")
    keeping = asyncio.create_task(served.keeper.run())
    async with asyncio.timeout(LIMIT_SECS):
        ended = await stream_end(served, metadata)
        with sqlite3.connect(tmp_path / "kronforce.db") as other_process:
            other_process.execute("UPDATE api_keys SET revoked_at = 1")
            other_process.execute("UPDATE counters SET value = value + 1 WHERE name='key_revision'")
        other_process.close()
        await clock.until_sleeping()
        clock.advance(1)
        assert (await ended).code is Code.UNAUTHENTICATED
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_key_that_expires_ends_its_streams(served: Served, clock: ManualClock) -> None:
    in_a_minute = clock.now_us() + 60_000_000
    metadata = await served.key(expires_at=in_a_minute)
    async with asyncio.timeout(LIMIT_SECS):
        ended = await stream_end(served, metadata)
        clock.advance(61)
        await served.keeper.recheck()
        assert (await ended).code is Code.UNAUTHENTICATED
    with pytest.raises(CallFailed, match="expired"):
        await first(served.transports["grpc"], WHO, metadata=metadata)


async def test_the_store_being_away_ends_no_stream(served: Served, clock: ManualClock) -> None:
    keeping = asyncio.create_task(served.keeper.run())
    going = await stream_end(served, await served.key())
    served.store.database.main.dispose()
    served.store.database._readers.close()
    async with asyncio.timeout(LIMIT_SECS):
        for _ in range(3):
            await clock.until_sleeping()
            clock.advance(31)
        await clock.until_sleeping()
    assert not going.done()
    for task in (going, keeping):
        task.cancel()
    await asyncio.gather(going, keeping, return_exceptions=True)


async def test_a_unary_call_without_a_deadline_ends_at_the_ceiling(
    served: Served, clock: ManualClock
) -> None:
    keeping = asyncio.create_task(served.keeper.run())
    call = asyncio.create_task(
        served.transports["grpc"].unary(
            GET, job_service_pb2.GetJobRequest(), metadata=await served.key()
        )
    )
    async with asyncio.timeout(LIMIT_SECS):
        await until(lambda: served.in_flight.unary == 1)
        await clock.until_sleeping()
        clock.advance(timedelta(seconds=UNARY_CEILING_SECS + 1))
        with pytest.raises(CallFailed) as ended:
            await call
    assert ended.value.code is Code.DEADLINE_EXCEEDED
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_key_works_only_from_its_networks(served: Served) -> None:
    here = await served.key(networks=["127.0.0.0/8"])
    elsewhere = await served.key(networks=["10.0.0.0/8", "2001:db8::/32"])
    await first(served.transports["grpc"], WHO, metadata=here)
    with pytest.raises(CallFailed, match="may not be used from 127"):
        await first(served.transports["grpc"], WHO, metadata=elsewhere)


async def test_wrong_keys_are_throttled_by_address_and_good_ones_pass_all_the_same(
    served: Served, clock: ManualClock
) -> None:
    good = await served.key()
    grpc_way = served.transports["grpc"]
    await first(grpc_way, WHO, metadata=good)
    reasons = []
    for attempt in range(FAILURES + 2):
        with pytest.raises(CallFailed) as refused:
            await first(grpc_way, WHO, metadata=bearer(f"kf_{attempt:040}"))
        reasons.append(refused.value.code)
    assert reasons == [Code.UNAUTHENTICATED] * FAILURES + [Code.RESOURCE_EXHAUSTED] * 2
    await first(grpc_way, WHO, metadata=good)
    clock.advance(WINDOW_SECS + 1)
    with pytest.raises(CallFailed) as refused:
        await first(grpc_way, WHO, metadata=bearer("kf_" + "y" * 43))
    assert refused.value.code is Code.UNAUTHENTICATED


async def test_when_a_key_was_last_used_is_written_in_batches(
    served: Served, clock: ManualClock
) -> None:
    metadata = await served.key(name="ci")
    clock.advance(5)
    await first(served.transports["grpc"], WHO, metadata=metadata)
    await served.identity.write_last_used()
    row = await served.store.read(stored_keys.find_key, "ci")
    assert row is not None
    assert row.last_used_at == clock.now_us()


class TestKeys:
    """KeyService itself."""

    @pytest.fixture
    async def served(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Served]:
        async with serve(tmp_path, clock=clock) as inner:
            servicer = KeyServicer(
                store=inner.store,
                clock=clock,
                new_id=inner.new_id,
                revoked=inner.keeper.recheck,
            )
            keys_alone = Service(
                descriptor=key_service_pb2.DESCRIPTOR.services_by_name["KeyService"],
                servicer=servicer,
            )
            inner.transports["keys"] = LocalTransport(
                endpoints_of([keys_alone], loopback=True), inner.chain()
            )
            yield inner

    async def create(self, served: Served, admin: dict[str, str], **fields: Any) -> Any:
        request = key_service_pb2.CreateKeyRequest(key=api_key_pb2.ApiKey(**fields))
        return await served.transports["keys"].unary(CREATE, request, metadata=admin)

    async def test_a_new_key_is_shown_once_and_works(self, served: Served) -> None:
        admin = await served.key(name="root")
        made = await self.create(
            served, admin, name="ci", role=api_key_pb2.ROLE_OPERATOR, allowed_groups=["Ops"]
        )
        assert made.secret.startswith(made.key.prefix)
        assert made.secret not in str(made.key)
        who = await first(served.transports["keys"], WHO, metadata=bearer(made.secret))
        assert (who.key.name, list(who.key.allowed_groups)) == ("ci", ["Ops"])
        assert "runs.trigger" in who.permissions
        assert "keys.admin" not in who.permissions
        listed = await first(served.transports["keys"], LIST, metadata=admin)
        assert [key.name for key in listed.keys] == ["ci", "root"]

    async def test_making_and_revoking_a_key_are_told_once_each(self, served: Served) -> None:
        admin = await served.key(name="root")
        await self.create(served, admin, name="ci", role=api_key_pb2.ROLE_VIEWER)
        request = key_service_pb2.RevokeKeyRequest(key_id="ci")
        made = await served.transports["keys"].unary(REVOKE, request, metadata=admin)
        request.key_id = made.id
        await served.transports["keys"].unary(REVOKE, request, metadata=admin)
        page = await served.store.read(list_events, system_scope("test"), page=PageRequest(size=10))
        told = [(event.kind, event.message, event.actor) for event in page.items]
        assert told == [
            ("key.revoked", "key ci was revoked", "root"),
            ("key.created", "key ci was created", "root"),
        ]

    async def test_a_revoked_key_is_refused_at_once(self, served: Served) -> None:
        admin = await served.key()
        made = await self.create(served, admin, name="ci", role=api_key_pb2.ROLE_VIEWER)
        await first(served.transports["keys"], WHO, metadata=bearer(made.secret))
        request = key_service_pb2.RevokeKeyRequest(key_id="ci")
        revoked = await served.transports["keys"].unary(REVOKE, request, metadata=admin)
        assert isinstance(revoked, api_key_pb2.ApiKey)
        assert revoked.HasField("revoked_at")
        with pytest.raises(CallFailed) as refused:
            await first(served.transports["keys"], WHO, metadata=bearer(made.secret))
        assert refused.value.reason == "BAD_KEY"

    async def test_the_last_admin_key_is_kept(self, served: Served) -> None:
        admin = await served.key(name="root")
        request = key_service_pb2.RevokeKeyRequest(key_id="root")
        with pytest.raises(CallFailed) as refused:
            await served.transports["keys"].unary(REVOKE, request, metadata=admin)
        assert refused.value.reason == "IN_USE"

    @pytest.mark.parametrize(
        ("field", "fields"),
        [
            ("name", {"name": "", "role": 1}),
            ("name", {"name": "01a1fb83-9798-7237-a2b3-d430265329d4", "role": 1}),
            ("role", {"name": "ci"}),
            ("role", {"name": "ci", "role": 9}),
            ("allowed_groups", {"name": "ci", "role": 3, "allowed_groups": ["Ops"]}),
            ("allowed_networks", {"name": "ci", "role": 1, "allowed_networks": ["10.0.0.1/8"]}),
            ("expires_at", {"name": "ci", "role": 1, "expires_at": {"seconds": 1}}),
        ],
    )
    async def test_what_is_wrong_with_a_key_is_named(
        self, served: Served, field: str, fields: dict[str, Any]
    ) -> None:
        with pytest.raises(CallFailed) as refused:
            await self.create(served, await served.key(), **fields)
        assert [violation.field for violation in refused.value.violations] == [field]

    async def test_a_taken_name_and_an_unknown_key_say_so(self, served: Served) -> None:
        admin = await served.key(name="root")
        with pytest.raises(CallFailed) as taken:
            await self.create(served, admin, name="root", role=api_key_pb2.ROLE_VIEWER)
        request = key_service_pb2.RevokeKeyRequest(key_id="nobody")
        with pytest.raises(CallFailed) as unknown:
            await served.transports["keys"].unary(REVOKE, request, metadata=admin)
        assert (taken.value.reason, unknown.value.reason) == ("NAME_TAKEN", "KEY_NOT_FOUND")

    async def test_an_agent_learns_its_own_name(self, served: Served) -> None:
        who = await first(served.transports["keys"], WHO, metadata=await served.credential("web-7"))
        assert (who.key.name, who.key.role) == ("web-7", api_key_pb2.ROLE_AGENT)
