"""What happens when a limit of the chain is reached: refused with a reason, never forgotten."""

from __future__ import annotations

import asyncio

import pytest

from kronforce.api.access import Method, methods_of
from kronforce.api.call import Call
from kronforce.api.in_flight import UNARY_CEILING_SECS, InFlight
from kronforce.api.rate_limits import MAX_ADDRESSES, RateLimits
from kronforce.api.throttle import FAILURES, WINDOW_SECS, Throttle
from kronforce.clock import ManualClock
from kronforce.errors import DeadlineExceeded, RateLimited, ResourceExhausted, Unavailable
from kronforce.v1 import execution_service_pb2, job_service_pb2

METHODS = methods_of(
    [
        execution_service_pb2.DESCRIPTOR.services_by_name["ExecutionService"],
        job_service_pb2.DESCRIPTOR.services_by_name["JobService"],
    ],
    loopback=True,
)
GET = METHODS["/kronforce.v1.JobService/GetJob"]
WATCH = METHODS["/kronforce.v1.ExecutionService/WatchRuns"]


def call_of(method: Method, **fields: object) -> Call:
    return Call(method=method.name, peer="192.0.2.1", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("method", "limit"), [(GET, "calls"), (WATCH, "streams")])
def test_beyond_the_limit_a_call_is_refused_until_another_ends(method: Method, limit: str) -> None:
    in_flight = InFlight(ManualClock(), max_unary=2, max_streams=2)
    first, second, third = (call_of(method) for _ in range(3))
    in_flight.admit(method, first)
    in_flight.admit(method, second)
    with pytest.raises(ResourceExhausted) as refused:
        in_flight.admit(method, third)
    assert refused.value.metadata == {"limit": limit, "maximum": "2"}
    in_flight.leave(third)
    in_flight.leave(first)
    in_flight.admit(method, third)


def test_streams_do_not_take_the_place_of_short_calls() -> None:
    in_flight = InFlight(ManualClock(), max_unary=1, max_streams=1)
    in_flight.admit(WATCH, call_of(WATCH))
    in_flight.admit(GET, call_of(GET))
    assert (in_flight.streams, in_flight.unary) == (1, 1)


def test_a_deadline_beyond_the_ceiling_is_brought_down_to_it() -> None:
    clock = ManualClock()
    in_flight = InFlight(clock)
    ceiling = clock.monotonic() + UNARY_CEILING_SECS
    for wanted, got in ((None, ceiling), (ceiling + 9, ceiling), (ceiling - 9, ceiling - 9)):
        call = call_of(GET, deadline=wanted)
        in_flight.admit(GET, call)
        assert call.deadline == got


async def test_an_overdue_call_is_ended_and_others_are_not() -> None:
    clock = ManualClock()
    in_flight = InFlight(clock)
    overdue, early = call_of(GET, deadline=clock.monotonic() + 5), call_of(GET)
    for call in (overdue, early):
        call.task = asyncio.create_task(asyncio.Event().wait())
        in_flight.admit(GET, call)
    clock.advance(6)
    in_flight.end_overdue()
    assert isinstance(overdue.ended, DeadlineExceeded)
    assert early.ended is None
    for call in (overdue, early):
        assert call.task is not None
        call.task.cancel()
        await asyncio.gather(call.task, return_exceptions=True)


def test_a_stopping_server_admits_nothing() -> None:
    in_flight = InFlight(ManualClock())
    in_flight.end_streams(Unavailable("stopping"))
    for method in (GET, WATCH):
        with pytest.raises(Unavailable):
            in_flight.admit(method, call_of(method))


def test_failures_count_in_a_window_and_by_address() -> None:
    clock = ManualClock()
    throttle = Throttle(clock)
    for _ in range(FAILURES):
        throttle.check("192.0.2.1")
        throttle.failed("192.0.2.1")
    with pytest.raises(ResourceExhausted, match="try again in 60 s"):
        throttle.check("192.0.2.1")
    throttle.check("192.0.2.2")
    clock.advance(WINDOW_SECS)
    throttle.check("192.0.2.1")
    throttle.failed("192.0.2.1")
    throttle.check("192.0.2.1")


def test_a_flood_from_many_addresses_forgets_the_oldest() -> None:
    throttle = Throttle(ManualClock(), addresses=2)
    for peer in ("a", "b", "c"):
        for _ in range(FAILURES):
            throttle.failed(peer)
    throttle.check("a")
    for peer in ("b", "c"):
        with pytest.raises(ResourceExhausted):
            throttle.check(peer)


def test_hooks_run_once_and_at_once_where_it_is_too_late() -> None:
    told: list[str] = []
    call = call_of(GET)
    call.on_cancel(lambda: told.append("before"))
    call.cancel()
    call.cancel()
    call.on_cancel(lambda: told.append("after"))
    assert told == ["before", "after"]
    assert call.cancelled()


def test_a_customers_ipv6_network_is_one_address_to_the_throttle() -> None:
    throttle = Throttle(ManualClock())
    for number in range(FAILURES):
        throttle.failed(f"2001:db8:1:2::{number + 1:x}")
    with pytest.raises(ResourceExhausted):
        throttle.check("2001:db8:1:2:ffff::1")
    throttle.check("2001:db8:1:3::1")


def test_over_grpc_a_key_has_so_many_calls_a_minute_if_the_operator_says_so() -> None:
    clock = ManualClock()
    limits = RateLimits({GET.rate_class: 2}, clock)
    one, other = call_of(GET, key_hash=b"one"), call_of(GET, key_hash=b"other")
    limits.admit(GET, one)
    limits.admit(GET, one)
    limits.admit(GET, other)
    with pytest.raises(RateLimited) as refused:
        limits.admit(GET, one)
    assert refused.value.metadata == {"limit": "2", "retry_secs": "60"}
    # What a trusted gateway has counted already is not counted again.
    limits.admit(GET, call_of(GET, key_hash=b"one", came_by=2))
    clock.advance(60)
    limits.admit(GET, one)


def test_without_a_limit_there_is_none() -> None:
    assert not RateLimits({1: 0, 2: 0, 3: 0}, ManualClock())


def test_addresses_of_public_calls_fill_no_memory() -> None:
    limits = RateLimits({GET.rate_class: 1}, ManualClock())
    passed = 0
    for number in range(MAX_ADDRESSES + 500):
        call = Call(method=GET.name, peer=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        try:
            limits.admit(GET, call)
            passed += 1
        except RateLimited:
            pass
    assert passed == MAX_ADDRESSES + 1
    assert len(limits._counts) == MAX_ADDRESSES + 1
