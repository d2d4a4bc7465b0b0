"""Browser sessions: signed in by a key, kept in a cookie, ended by whatever ends the key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from kronforce.store import keys as stored_keys
from kronforce.v1.run_pb2 import RunUpdates
from kronforce_gateway.browser import sessions as module
from kronforce_gateway.browser.cookies import cookie_name, setting
from kronforce_gateway.browser.sessions import ABSOLUTE_SECS, IDLE_SECS, Sessions
from kronforce_gateway.front.settings import FrontSettings
from tests.contract.gateway.rig import Rig, gateway

SESSION, LOGOUT = "/api/auth/session", "/api/auth/logout"
TRIGGER = "/api/jobs/j1/trigger"


class Browser:
    """What a browser keeps and sends."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.cookie = ""
        self.token = ""

    def ask(self, path: str, verb: str = "GET", body: Any = None, **headers: str) -> Any:
        sent = {"cookie": self.cookie, "x-csrf-token": self.token, **headers}
        sent = {name: value for name, value in sent.items() if value}
        text = b"" if body is None else orjson.dumps(body)
        return self._rig.get(path, verb=verb, key={}, headers=sent, body=text)

    async def sign_in(self) -> Any:
        key = self._rig.key["authorization"].removeprefix("Bearer ")
        async with self.ask(SESSION, "POST", {"key": key}) as answer:
            assert answer.status == 200
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
            shown = await answer.json()
        self.token = shown["csrf_token"]
        return shown

    async def status(self, path: str, verb: str = "GET", **headers: str) -> tuple[int, str]:
        async with self.ask(path, verb, **headers) as answer:
            return answer.status, (await answer.json()).get("reason", "")


async def test_a_key_opens_a_session_that_every_call_may_use(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        browser = Browser(rig)
        shown = await browser.sign_in()
        async with browser.ask(SESSION) as answer:
            again = await answer.json()

        assert await browser.status("/api/auth/me") == (200, "")
        assert await browser.status(TRIGGER, "POST") == (200, "")

    assert shown["signed_in"] is again["signed_in"] is True
    assert again["csrf_token"] == shown["csrf_token"]
    assert "permissions" in shown["me"]


async def test_a_wrong_key_opens_nothing_and_says_why(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        browser = Browser(rig)
        async with browser.ask(SESSION, "POST", {"key": "kf_wrong"}) as answer:
            assert (answer.status, (await answer.json())["reason"]) == (401, "BAD_KEY")
            assert "set-cookie" not in answer.headers
        async with browser.ask(SESSION, "POST", {}) as answer:
            assert (await answer.json())["details"][0]["field"] == "key"
        async with browser.ask(SESSION) as answer:
            assert (await answer.json()) == {"signed_in": False}


async def test_a_write_needs_the_token_and_a_page_of_ours(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        browser = Browser(rig)
        await browser.sign_in()
        here = f"http://127.0.0.1:{rig.port}"

        assert await browser.status(TRIGGER, "POST", origin=here) == (200, "")
        for elsewhere in ("https://evil.example", "null", "http://["):
            status = await browser.status(TRIGGER, "POST", origin=elsewhere)
            assert status == (403, "CROSS_ORIGIN"), elsewhere
        fetched = {"sec-fetch-site": "cross-site"}
        assert await browser.status(TRIGGER, "POST", **fetched) == (403, "CROSS_ORIGIN")
        browser.token = "guessed"
        assert await browser.status(TRIGGER, "POST") == (403, "BAD_CSRF_TOKEN")
        assert await browser.status("/api/auth/me") == (200, "")
        assert await browser.status(LOGOUT, "POST") == (403, "BAD_CSRF_TOKEN")


async def test_behind_a_proxy_that_calls_it_by_another_name_a_page_of_the_public_url_is_ours(
    tmp_path: Path,
) -> None:
    front = FrontSettings(public_url="https://jobs.example/")
    async with gateway(tmp_path, front=front) as rig:
        browser = Browser(rig)
        await browser.sign_in()

        ours = await browser.status(TRIGGER, "POST", origin="https://jobs.example")
        other = await browser.status(TRIGGER, "POST", origin="https://jobs.example:8443")

    assert (ours, other) == ((200, ""), (403, "CROSS_ORIGIN"))


async def test_signing_out_ends_the_session_and_its_streams(tmp_path: Path) -> None:
    async def quiet(_request: Any, _call: Any) -> AsyncIterator[Any]:
        yield RunUpdates()
        await asyncio.Event().wait()

    async with gateway(tmp_path, WatchRuns=quiet) as rig:
        browser = Browser(rig)
        await browser.sign_in()
        async with browser.ask("/api/runs/r1/watch") as stream:
            assert stream.status == 200
            async with browser.ask(LOGOUT, "POST") as answer:
                assert answer.headers["set-cookie"].startswith(
                    f"kronforce-{rig.port}=; Path=/; Max-Age=0"
                )
            assert b"retry" in await stream.body()

        assert await browser.status("/api/auth/me") == (401, "BAD_KEY")
        assert await browser.status(LOGOUT, "POST") == (200, "")


async def test_a_revoked_key_ends_its_sessions(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rig.key = await rig.served.key(name="short")
        browser = Browser(rig)
        await browser.sign_in()
        await rig.served.store.write(stored_keys.revoke_key, "short", 1)
        await rig.served.keeper.recheck()

        assert (await browser.status("/api/auth/me"))[0] == 401
        assert len(rig.gateway.sessions) == 0


async def test_signing_in_again_ends_the_session_before(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        browser = Browser(rig)
        await browser.sign_in()
        first = browser.cookie
        await browser.sign_in()

        assert browser.cookie != first
        assert len(rig.gateway.sessions) == 1


async def test_a_key_that_comes_with_a_cookie_wins(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        browser = Browser(rig)
        await browser.sign_in()

        assert (await browser.status("/api/auth/me", authorization="Bearer kf_no"))[0] == 401


@pytest.mark.parametrize("verb", ["PUT", "DELETE"])
async def test_other_verbs_are_named(tmp_path: Path, verb: str) -> None:
    async with gateway(tmp_path) as rig, rig.get(SESSION, verb=verb) as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")


def test_the_cookie_is_for_this_host_over_tls_and_named_by_port_without() -> None:
    tls = {"scheme": "https", "server": ("h", 8443)}
    plain = {"scheme": "http", "server": ("127.0.0.1", 8080)}

    assert cookie_name(tls) == "__Host-kronforce"
    assert setting(tls, "s", 60) == (
        "__Host-kronforce=s; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
    )
    assert setting(plain, "s", 60) == (
        "kronforce-8080=s; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"
    )


class Time:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_ends_when_nobody_uses_it_but_not_under_an_open_stream() -> None:
    time = Time()
    sessions = Sessions(time)
    session, secret = sessions.open("Bearer kf_a", "a")

    time.now += IDLE_SECS - 1
    assert sessions.find(secret) is session
    session.streams.add(lambda: None)
    time.now += IDLE_SECS + 1
    assert sessions.find(secret) is session
    session.streams.clear()
    time.now += IDLE_SECS + 1
    assert sessions.find(secret) is None
    assert sessions.left(session) == 0


def test_a_session_ends_at_last_however_it_is_used() -> None:
    time = Time()
    sessions = Sessions(time)
    session, secret = sessions.open("Bearer kf_a", "a")
    session.streams.add(lambda: None)

    time.now += ABSOLUTE_SECS
    assert sessions.find(secret) is None


def test_sessions_are_bounded_for_a_key_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OF_A_KEY", 2)
    monkeypatch.setattr(module, "MAX_SESSIONS", 3)
    sessions = Sessions(Time())
    made = [sessions.open("Bearer kf_a", owner)[1] for owner in ("a", "b", "a")]
    sessions.find(made[0])

    of_a = sessions.open("Bearer kf_a", "a")[1]
    assert sessions.find(made[2]) is None
    sessions.open("Bearer kf_c", "c")
    assert sessions.find(made[1]) is None
    assert len(sessions) == 3
    assert sessions.find(of_a) is not None


def test_a_session_does_not_show_its_key() -> None:
    session, _ = Sessions(Time()).open("Bearer kf_secret", "a")

    assert "kf_secret" not in repr(session)
