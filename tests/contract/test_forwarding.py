"""A gateway that is a process of its own says for whom it calls; only a trusted one is believed."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from kronforce.api.call import Call
from kronforce.api.forwarded import TOLD, Forwarders
from kronforce.api.grpc_transport import GrpcTransport
from kronforce.api.throttle import FAILURES
from kronforce.api.transport import CallFailed
from kronforce.errors import Code
from kronforce.v1 import api_key_pb2, job_pb2, job_service_pb2, options_pb2
from tests.contract.harness import METHODS, Served, bearer, serve, stand_ins

GET = METHODS["JobService.GetJob"]
REQUEST = job_service_pb2.GetJobRequest(job_id="x")
LOOPBACK = ("127.0.0.1",)
CALLER = "203.0.113.7"


class Probe:
    """Remembers the calls that reached a servicer."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def get_job(self, _request: Any, call: Call) -> job_pb2.Job:
        self.calls.append(call)
        return job_pb2.Job()

    @property
    def services(self) -> Any:
        return stand_ins(GetJob=self.get_job)


def gateway(served: Served, surface: str = "http") -> GrpcTransport:
    return GrpcTransport(served.channel, surface=surface)


async def test_a_trusted_gateway_calls_as_whom_it_calls_for(tmp_path: Path) -> None:
    probe = Probe()
    async with serve(tmp_path, probe.services, trusted=LOOPBACK) as served:
        key = await served.key()
        for surface in ("http", "mcp"):
            await gateway(served, surface).unary(GET, REQUEST, metadata=key, peer=CALLER)
    assert [call.peer for call in probe.calls] == [CALLER, CALLER]
    assert [call.principal.surface for call in probe.calls] == ["http", "mcp"]
    assert [call.principal.peer for call in probe.calls] == [CALLER, CALLER]


async def test_what_anybody_else_says_changes_nothing(tmp_path: Path) -> None:
    probe = Probe()
    async with serve(tmp_path, probe.services, trusted=("10.0.0.0/8",)) as served:
        key = await served.key()
        with capture_logs() as lines:
            for _ in range(3):
                await gateway(served).unary(GET, REQUEST, metadata=key, peer=CALLER)
    assert {call.peer for call in probe.calls} == {"127.0.0.1"}
    assert {call.principal.surface for call in probe.calls} == {"grpc"}
    assert [line["action"] for line in lines] == ["forwarding.not_trusted"]


async def test_a_keys_networks_are_compared_with_the_caller_behind_it(tmp_path: Path) -> None:
    async with serve(tmp_path, Probe().services, trusted=LOOPBACK) as served:
        inside = await served.key(networks=("203.0.113.0/24",))
        of_the_gateway = await served.key(networks=("127.0.0.0/8",))
        await gateway(served).unary(GET, REQUEST, metadata=inside, peer=CALLER)
        for key, peer in ((inside, "198.51.100.1"), (of_the_gateway, CALLER)):
            with pytest.raises(CallFailed) as refused:
                await gateway(served).unary(GET, REQUEST, metadata=key, peer=peer)
            assert refused.value.code is Code.UNAUTHENTICATED


async def test_wrong_keys_count_against_who_sent_them(tmp_path: Path) -> None:
    async with serve(tmp_path, Probe().services, trusted=LOOPBACK) as served:
        for _ in range(FAILURES):
            with pytest.raises(CallFailed):
                await gateway(served).unary(
                    GET, REQUEST, metadata=bearer("kf_" + "0" * 40), peer=CALLER
                )
        key = await served.key()
        with pytest.raises(CallFailed) as refused:
            await gateway(served).unary(GET, REQUEST, metadata=key, peer=CALLER)
        assert refused.value.code is Code.RESOURCE_EXHAUSTED
        await gateway(served).unary(GET, REQUEST, metadata=key, peer="198.51.100.1")


async def test_a_method_that_http_does_not_offer_stays_closed_through_a_gateway(
    tmp_path: Path,
) -> None:
    stream = METHODS["JobService.TriggerJobsStream"]
    assert (
        options_pb2.SURFACE_MCP not in stream.GetOptions().Extensions[options_pb2.access].exposure
    )

    async def requests() -> Any:
        yield job_service_pb2.TriggerJobsRequest()

    async with serve(tmp_path, trusted=LOOPBACK) as served:
        key = await served.key(api_key_pb2.ROLE_ADMIN)
        with pytest.raises(CallFailed) as refused:
            async with gateway(served, "mcp").bidi(
                stream, requests(), metadata=key, peer=CALLER
            ) as replies:
                await anext(replies)
        assert refused.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("said", "peer"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("local", "10.0.0.1"),
        ("unix", "10.0.0.1"),
        ("203.0.113.7, 127.0.0.1", "10.0.0.1"),
        ("", "10.0.0.1"),
        (b"203.0.113.7", "10.0.0.1"),
    ],
)
def test_only_an_address_is_one(said: Any, peer: str) -> None:
    metadata = {"x-forwarded-for": said, "x-kronforce-surface": "grpc"}
    call = Call(method="/a/B", peer="10.0.0.1", metadata=metadata)
    Forwarders([ipaddress.ip_network("10.0.0.0/24")]).read(call)
    assert (call.peer, call.came_by) == (peer, 0)


def test_however_many_are_not_trusted_the_log_stays_short() -> None:
    forwarders = Forwarders(())
    with capture_logs() as lines:
        for number in range(2 * TOLD):
            forwarders.read(Call(method="/a/B", peer=f"10.0.{number // 200}.{number % 200}"))
    assert len(lines) == TOLD
