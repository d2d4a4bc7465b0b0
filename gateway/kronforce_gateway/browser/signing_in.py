"""Signing in and out: `/api/auth/session` and `/api/auth/logout`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson

from kronforce.v1 import options_pb2
from kronforce_client.dialect import DialectError, Problem, loads, render
from kronforce_gateway import failures
from kronforce_gateway.browser import cookies
from kronforce_gateway.browser.callers import Callers, check_token
from kronforce_gateway.browser.sessions import ABSOLUTE_SECS, Session
from kronforce_gateway.calls import Receive, Scope, Send, peer_of, read_body, respond
from kronforce_gateway.failures import Failure
from kronforce_gateway.front.passage import admit, headers_of

SESSION, LOGOUT = "/api/auth/session", "/api/auth/logout"
PUBLIC = options_pb2.RATE_CLASS_PUBLIC

# A key has some 50 characters.
MAX_BODY = 4_096
_LOCAL_HOSTS = {"127.0.0.1", "localhost", "[::1]"}


class SigningIn:
    """`key_file` is where the admin's key of this host lies, for the sign-in page to say so."""

    def __init__(self, callers: Callers, *, key_file: Path | None = None) -> None:
        self._callers = callers
        self._key_file = key_file

    async def session(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET: who is signed in. POST `{"key"}`: sign in."""
        admit(scope, SESSION, PUBLIC)
        headers = headers_of(scope)
        if scope["method"] in ("GET", "HEAD"):
            await self._tell(scope, headers, send)
        elif scope["method"] == "POST":
            await self._sign_in(scope, headers, receive, send)
        else:
            raise failures.wrong_verb(scope["method"], scope["path"], ["GET", "POST"])

    async def logout(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """POST: sign out; harmless where nobody was signed in."""
        if scope["method"] != "POST":
            raise failures.wrong_verb(scope["method"], scope["path"], ["POST"])
        admit(scope, LOGOUT, PUBLIC)
        headers = headers_of(scope)
        self._callers.check_origin(headers)
        session = self._callers.find(scope, headers)
        if session is not None:
            check_token(session, headers)
            self._callers.sessions.end(session)
        await _respond(send, {"signed_in": False}, cookies.setting(scope, "", 0))

    async def _sign_in(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        self._callers.check_origin(headers)
        authorization = f"Bearer {_key_in(await read_body(headers, receive, MAX_BODY))}"
        me = await self._who(scope, authorization)
        before = self._callers.find(scope, headers)
        if before is not None:
            self._callers.sessions.end(before)
        session, secret = self._callers.sessions.open(authorization, me["key"]["id"])
        cookie = cookies.setting(scope, secret, int(ABSOLUTE_SECS))
        await _respond(send, self._shown(session, me), cookie)

    async def _tell(self, scope: Scope, headers: Mapping[bytes, bytes], send: Send) -> None:
        session = self._callers.find(scope, headers)
        if session is not None:
            try:
                me = await self._who(scope, session.authorization)
            except Failure as failure:
                if failure.status != HTTPStatus.UNAUTHORIZED:
                    raise
                self._callers.sessions.end(session)
            else:
                await _respond(send, self._shown(session, me))
                return
        found = self._key_file if _is_local(scope, headers) else None
        there = {"key_file": str(found)} if found is not None and found.exists() else {}
        await _respond(send, {"signed_in": False, **there})

    async def _who(self, scope: Scope, authorization: str) -> Any:
        metadata = {"authorization": authorization}
        return render(await self._callers.who(metadata, peer_of(scope)))

    def _shown(self, session: Session, me: Any) -> dict[str, Any]:
        left = int(self._callers.sessions.left(session))
        return {
            "signed_in": True,
            "csrf_token": session.csrf_token,
            "expires_in_secs": left,
            "me": me,
        }


def _key_in(body: bytes) -> str:
    try:
        document = loads(body or b"{}")
    except DialectError as error:
        raise failures.of_document(error) from None
    given = document.get("key") if isinstance(document, dict) else None
    key = "".join(given.split()) if isinstance(given, str) else ""
    if not key or not (key.isascii() and key.isprintable()):
        problem = Problem(path=("key",), message='is required: {"key": "kf_…"}')
        raise failures.of_document(DialectError([problem]))
    return key


def _is_local(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a person on this host asks, as far as can be told."""
    host = headers.get(b"host", b"").decode("latin-1")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    forwarded = b"x-forwarded-for" in headers or b"forwarded" in headers
    return peer_of(scope) in ("127.0.0.1", "::1") and name in _LOCAL_HOSTS and not forwarded


async def _respond(send: Send, document: Any, cookie: str = "") -> None:
    headers = {"set-cookie": cookie} if cookie else {}
    await respond(send, HTTPStatus.OK, orjson.dumps(document), headers)
