"""What a header says of the caller counts only where a trusted proxy wrote it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce_gateway.failures import Failure
from kronforce_gateway.front.proxies import MAX_HOPS, Proxies

PEER = "10.0.0.1"
PROXIES = Proxies([ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("fd00::/8")])


def behind(**headers: str) -> tuple[str, str]:
    return PROXIES.behind(
        PEER, [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    )


@pytest.mark.parametrize(
    ("header", "caller"),
    [
        ("203.0.113.7", "203.0.113.7"),
        # What the caller wrote itself stands on the left.
        ("1.2.3.4, 203.0.113.7", "203.0.113.7"),
        ("1.2.3.4, 203.0.113.7, 10.0.0.9, 10.0.0.8", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        # All of them proxies: the first of the chain.
        ("10.0.0.9, fd00::1", "10.0.0.9"),
        # No address: nothing left of it can be believed either.
        ("203.0.113.7, unknown", PEER),
        ("203.0.113.7, evil, 10.0.0.9", "10.0.0.9"),
        ("", PEER),
        (",,,", PEER),
    ],
)
def test_the_caller_is_the_right_most_hop_that_is_no_proxy(header: str, caller: str) -> None:
    assert behind(x_forwarded_for=header)[0] == caller


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("for=203.0.113.7;proto=https", ("203.0.113.7", "https")),
        ('For="[2001:db8::1]:4711"; Proto=HTTPS', ("2001:db8::1", "https")),
        ("for=1.2.3.4, for=203.0.113.7;by=10.0.0.1, for=10.0.0.9", ("203.0.113.7", "")),
        ("for=_hidden;proto=gopher", (PEER, "")),
        ("proto=https", (PEER, "https")),
    ],
)
def test_the_standard_header_is_read_too(header: str, expected: tuple[str, str]) -> None:
    assert behind(forwarded=header) == expected


def test_a_repeated_header_is_one_list() -> None:
    pairs = [(b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-for", b"203.0.113.7")]
    assert PROXIES.behind(PEER, pairs) == ("203.0.113.7", "")


def test_the_scheme_is_what_the_last_proxy_says() -> None:
    assert behind(x_forwarded_for="203.0.113.7", x_forwarded_proto="http, https")[1] == "https"
    assert behind(x_forwarded_for="203.0.113.7", x_forwarded_proto="javascript")[1] == ""


def test_two_headers_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(Failure) as refused:
        behind(x_forwarded_for="203.0.113.7", forwarded="for=127.0.0.1")
    assert refused.value.status == 400
    assert behind(x_forwarded_for="203.0.113.7", forwarded="for=203.0.113.7") == ("203.0.113.7", "")


def test_a_chain_of_any_length_is_looked_at_to_its_limit() -> None:
    longer = ", ".join(["203.0.113.7"] + ["10.0.0.9"] * MAX_HOPS)
    assert behind(x_forwarded_for=longer)[0] == "10.0.0.9"


@given(st.text(max_size=200), st.text(max_size=200))
def test_what_is_written_left_of_the_caller_changes_nothing(spoofed: str, proto: str) -> None:
    text = spoofed.encode("latin-1", "ignore").decode("latin-1").replace("\r", "")
    headers = [
        (b"x-forwarded-for", f"{text}, 203.0.113.7".encode("latin-1")),
        (b"x-forwarded-proto", proto.encode("latin-1", "ignore")),
    ]
    caller, scheme = PROXIES.behind(PEER, headers)
    assert caller == "203.0.113.7"
    assert scheme in ("", "http", "https")


def test_nobody_is_trusted_unless_named() -> None:
    assert PROXIES.trusts("10.0.0.77")
    assert PROXIES.trusts("::ffff:10.0.0.77")
    assert not PROXIES.trusts("10.0.1.1")
    assert not PROXIES.trusts("local")
    assert not Proxies([])
