"""What passes the door, and what every answer says to browsers."""

from __future__ import annotations

import gzip
import ipaddress
import logging
from typing import Any

import orjson
import pytest

from kronforce_gateway.failures import Failure
from kronforce_gateway.front.counts import LINES_SECS, MAX_LINES
from kronforce_gateway.front.passage import admit
from tests.unit.gateway.front.door import door

PROXY = (ipaddress.ip_network("10.0.0.1"),)
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


async def test_every_answer_tells_browsers_to_run_keep_and_frame_nothing() -> None:
    answer = await door().call()
    assert answer.status == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "strict-transport-security" not in answer.headers


async def test_over_tls_it_asks_to_stay_there() -> None:
    answer = await door().call(scheme="https")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_a_page_keeps_the_policy_that_it_sets() -> None:
    own = {"content-security-policy": "default-src 'self'", "cache-control": "max-age=60"}
    page = door(lambda _: (200, b"<p>", own, b"text/html"))
    answer = await page.call()
    assert answer.headers["content-security-policy"] == "default-src 'self'"
    assert answer.headers["cache-control"] == "max-age=60"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"


async def test_a_request_has_an_id_its_callers_or_one_of_ours() -> None:
    one = door()
    assert (await one.call(x_request_id="trace-7")).headers["x-request-id"] == "trace-7"
    made = (await one.call()).headers["x-request-id"]
    as_long_as_ours = "<" * len(made)
    for wrong in ("", "a b", "x" * 200, "{}", "-x", 'a"', as_long_as_ours):
        again = (await one.call(x_request_id=wrong)).headers["x-request-id"]
        assert again not in (wrong, made)
        made = again


async def test_a_head_alone_does_not_say_that_a_body_would_be_empty() -> None:
    assert "content-length" in (await door().call()).headers
    assert "content-length" not in (await door().call(verb="HEAD")).headers


async def test_the_id_goes_with_the_call_also_where_the_callers_was_none() -> None:
    one = door()
    answer = await one.call(x_request_id="a b")
    passage = one.seen[0]["kronforce.passage"]
    assert passage.headers[b"x-request-id"].decode() == answer.headers["x-request-id"]


async def test_what_a_stranger_says_of_its_address_is_ignored() -> None:
    one = door(trusted_proxies=PROXY)
    await one.call(peer="203.0.113.7", x_forwarded_for="127.0.0.1", x_forwarded_proto="https")
    assert one.seen[0]["client"][0] == "203.0.113.7"
    assert one.seen[0]["scheme"] == "http"


async def test_a_trusted_proxy_says_for_whom_it_calls_and_how_it_was_called() -> None:
    one = door(trusted_proxies=PROXY)
    answer = await one.call(
        peer="10.0.0.1", x_forwarded_for="6.6.6.6, 203.0.113.7", x_forwarded_proto="https"
    )
    assert one.seen[0]["client"][0] == "203.0.113.7"
    assert "strict-transport-security" in answer.headers


async def test_a_contradiction_of_a_proxy_reaches_nobody() -> None:
    one = door(trusted_proxies=PROXY)
    answer = await one.call(peer="10.0.0.1", x_forwarded_for="1.1.1.1", forwarded="for=2.2.2.2")
    assert answer.status == 400
    assert one.seen == []


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080"])
async def test_on_loopback_it_answers_to_its_own_names(host: str) -> None:
    assert (await door(allowed_hosts=LOCAL).call(host=host)).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.nip.io", ""])
async def test_a_name_that_somebody_else_points_here_is_refused(host: str) -> None:
    one = door(allowed_hosts=LOCAL)
    answer = await one.call(host=host)
    assert answer.status == 421
    assert orjson.loads(answer.body)["reason"] == "WRONG_HOST"
    assert "--allowed-hosts" in orjson.loads(answer.body)["error"]
    assert one.seen == []


async def test_a_limit_is_said_in_headers_and_then_kept() -> None:
    def handler(scope: Any) -> Any:
        admit(scope, "/api/jobs", 2)
        return 200, b"{}", {}, None

    one = door(handler, rate_limits={2: 1})
    first, second = await one.call(), await one.call()
    assert (first.status, first.headers["x-ratelimit-remaining"]) == (200, "0")
    assert (second.status, second.headers["x-ratelimit-limit"]) == (429, "1")
    assert int(second.headers["retry-after"]) <= 60
    assert orjson.loads(second.body)["reason"] == "RATE_LIMITED"


BIG = orjson.dumps([{"name": f"job {n}"} for n in range(500)])


async def test_a_large_answer_is_compressed_for_whoever_takes_it() -> None:
    one = door(lambda _: (200, BIG, {}, None))
    plain, packed = await one.call(), await one.call(accept_encoding="br, gzip")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(packed.body) < len(plain.body) / 3
    assert gzip.decompress(packed.body) == plain.body == BIG


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "gzip; q=0.0", "br"])
async def test_it_is_not_for_whoever_does_not(accepted: str) -> None:
    one = door(lambda _: (200, BIG, {}, None))
    assert (await one.call(accept_encoding=accepted)).body == BIG


@pytest.mark.parametrize(
    ("body", "headers", "kind"),
    [
        (b"{}", {}, None),
        (BIG, {"set-cookie": "a=b"}, None),
        (BIG, {"content-encoding": "br"}, None),
        (BIG, {}, b"application/octet-stream"),
        (BIG, {}, b"text/event-stream"),
    ],
)
async def test_some_answers_are_left_as_they_are(
    body: bytes, headers: dict[str, str], kind: bytes | None
) -> None:
    one = door(lambda _: (200, body, headers, kind))
    assert (await one.call(accept_encoding="gzip")).body == body


async def test_what_nobody_foresaw_is_logged_whole_and_answered_by_its_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_scope: Any) -> Any:
        raise RuntimeError("the password is hunter2")

    answer = await door(broken).call()
    assert answer.status == 500
    assert b"hunter2" not in answer.body
    assert answer.headers["x-request-id"].encode() in answer.body
    assert "hunter2" in caplog.text


async def test_requests_are_counted_by_route_and_status() -> None:
    def handler(scope: Any) -> Any:
        if scope["method"] == "PUT":
            raise Failure(status=404, error="no", reason="NO_SUCH_PATH")
        admit(scope, "/api/jobs/{job_id}", 2)
        return 200, b"{}", {}, None

    one = door(handler)
    await one.call()
    await one.call()
    await one.call(verb="PUT")
    await one.call(verb="BREW")
    assert one.front.counts.read() == {
        ("GET", "/api/jobs/{job_id}", "200"): 2.0,
        ("other", "/api/jobs/{job_id}", "200"): 1.0,
        ("PUT", "-", "404"): 1.0,
    }
    assert one.front.counts.open == 0


async def test_a_line_about_a_failed_call_names_its_route_and_nothing_that_it_carried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def handler(scope: Any) -> Any:
        admit(scope, "/api/jobs/{job_id}", 2)
        raise Failure(status=503, error="secret", reason="UNAVAILABLE")

    with caplog.at_level(logging.DEBUG, "kronforce.http"):
        answer = await door(handler).call(authorization="Bearer kf_secret")
    (line,) = caplog.records
    said = vars(line)
    assert (said["action"], said["route"]) == ("http.failed", "/api/jobs/{job_id}")
    assert (said["status"], said["reason"]) == (503, "UNAVAILABLE")
    assert said["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in str(said)


async def test_a_flood_of_failures_is_not_one_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    def handler(_scope: Any) -> Any:
        raise Failure(status=503, error="away", reason="CONTROLLER_UNREACHABLE")

    now = [100.0]
    one = door(handler, monotonic=lambda: now[0])
    for _ in range(10 * MAX_LINES):
        await one.call()
    assert len(caplog.records) == MAX_LINES
    now[0] += LINES_SECS
    await one.call()
    assert vars(caplog.records[MAX_LINES])["calls"] == 9 * MAX_LINES


async def test_a_browsers_session_counts_as_its_key() -> None:
    def handler(scope: Any) -> Any:
        admit(scope, "/api/jobs", 2)
        return 200, b"{}", {}, None

    one = door(handler, rate_limits={2: 2})
    one.front._session_key = lambda _scope, headers: f"Bearer {headers[b'cookie'].decode()}"
    statuses = [
        (await one.call(cookie="kf_a")).status,
        (await one.call(authorization="Bearer kf_a")).status,
        (await one.call(cookie="kf_a")).status,
        (await one.call(cookie="kf_b")).status,
    ]
    assert statuses == [200, 200, 429, 200]
