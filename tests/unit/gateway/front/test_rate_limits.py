"""Never more than the limit in a window, whoever calls; and no memory for made-up keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce_gateway.failures import Failure
from kronforce_gateway.front.passage import Passage
from kronforce_gateway.front.rate_limits import WINDOW_SECS, RateLimits

PUBLIC, AUTHENTICATED, AGENT = 1, 2, 3


class Time:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def passage(limits: RateLimits, *, peer: str = "10.0.0.1", key: str = "") -> Passage:
    headers: Mapping[bytes, bytes] = {b"authorization": f"Bearer {key}".encode()} if key else {}
    return Passage(headers, peer=peer, request_id="r", limits=limits.admit)


def passes(limits: RateLimits, rate_class: int = AUTHENTICATED, **who: str) -> bool:
    try:
        passage(limits, **who).admit("/api/jobs", rate_class)
    except Failure as failure:
        return failure.status != 429
    return True


calls = st.lists(
    st.tuples(
        st.floats(min_value=0, max_value=45),
        st.sampled_from(["kf_a", "kf_b", "kf_c", ""]),
        st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        st.sampled_from([PUBLIC, AUTHENTICATED]),
    ),
    max_size=60,
)


@given(calls, st.integers(min_value=1, max_value=4), st.integers(min_value=1, max_value=4))
def test_each_caller_gets_exactly_its_limit_in_each_window(
    made: list[tuple[float, str, str, int]], public: int, authenticated: int
) -> None:
    time = Time()
    limits = RateLimits({PUBLIC: public, AUTHENTICATED: authenticated}, time)
    allowed = {PUBLIC: public, AUTHENTICATED: authenticated}
    used: Counter[tuple[int, int, str]] = Counter()
    start = time.now
    for pause, key, peer, kind in made:
        time.now += pause
        who = peer if kind == PUBLIC or not key else key
        caller = (int((time.now - start) // WINDOW_SECS), kind, who)
        assert passes(limits, kind, peer=peer, key=key) == (used[caller] < allowed[kind])
        used[caller] = min(used[caller] + 1, allowed[kind])


def test_an_answer_says_what_is_left_and_a_refusal_when_to_come_back() -> None:
    time = Time()
    limits = RateLimits({AUTHENTICATED: 2}, time)
    time.now += 20.5
    first, second, third = (passage(limits, key="kf_a") for _ in range(3))
    first.admit("/api/jobs", AUTHENTICATED)
    second.admit("/api/jobs", AUTHENTICATED)
    with pytest.raises(Failure) as refused:
        third.admit("/api/jobs", AUTHENTICATED)
    limit = (b"x-ratelimit-limit", b"2")
    assert first.replied == [limit, (b"x-ratelimit-remaining", b"1")]
    assert second.replied == [limit, (b"x-ratelimit-remaining", b"0")]
    assert third.replied == [limit, (b"x-ratelimit-remaining", b"0")]
    assert refused.value.headers == {"retry-after": "40"}
    assert "2 calls a minute" in refused.value.error
    assert "KRONFORCE_RATE_LIMIT_AUTHENTICATED" in refused.value.error


def test_zero_limits_nothing_and_says_nothing() -> None:
    limits = RateLimits({AUTHENTICATED: 0}, Time())
    one = passage(limits, key="kf_a")
    for _ in range(1_000):
        one.admit("/api/jobs", AUTHENTICATED)
    assert one.replied == []
    assert one.route == "/api/jobs"


def test_a_key_is_one_caller_however_it_is_written_and_wherever_it_calls_from() -> None:
    limits = RateLimits({AUTHENTICATED: 1}, Time())
    headers = [b"Bearer kf_a", b"bearer kf_a", b"BEARER  kf_a"]
    found = []
    for number, header in enumerate(headers):
        one = Passage(
            {b"authorization": header}, peer=f"10.0.0.{number}", request_id="r", limits=limits.admit
        )
        try:
            one.admit("/", AUTHENTICATED)
        except Failure:
            found.append(number)
    assert found == [1, 2]


def test_public_calls_count_by_address_whatever_key_they_carry() -> None:
    limits = RateLimits({PUBLIC: 1}, Time())
    assert passes(limits, PUBLIC, key="kf_a")
    assert not passes(limits, PUBLIC, key="kf_b")
    assert passes(limits, PUBLIC, peer="10.0.0.9")


def test_a_customers_ipv6_network_is_one_address() -> None:
    limits = RateLimits({PUBLIC: 1}, Time())
    assert passes(limits, PUBLIC, peer="2001:db8:1:2::1")
    assert not passes(limits, PUBLIC, peer="2001:db8:1:2:ffff::9")
    assert passes(limits, PUBLIC, peer="2001:db8:1:3::1")


def test_made_up_keys_fill_no_memory_and_push_nobody_out() -> None:
    time = Time()
    limits = RateLimits({AUTHENTICATED: 3}, time, max_callers=10)
    assert passes(limits, key="kf_good")
    flood = sum(passes(limits, key=f"kf_{n}", peer="10.6.6.6") for n in range(500))
    assert flood == 9 + 3
    assert [passes(limits, key="kf_good") for _ in range(3)] == [True, True, False]
    # Who is new comes from elsewhere, and still gets in.
    assert passes(limits, key="kf_late", peer="10.0.0.7")
    many = sum(passes(limits, key=f"kf_{n}", peer=f"10.7.{n // 200}.{n % 200}") for n in range(999))
    assert many <= 3 * 11
    tier = limits._tiers[AUTHENTICATED]
    assert len(tier.counts) <= 2 * 10 + 1
    time.now += WINDOW_SECS
    assert passes(limits, key="kf_late", peer="10.0.0.7")
    assert len(tier.counts) == 1
