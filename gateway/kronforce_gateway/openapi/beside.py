"""What the gateway serves beside the contract's methods, said by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kronforce_gateway.openapi import answers
from kronforce_gateway.openapi.schemas import reference

# What people look for first; the rest follows by name.
FIRST = ("Job", "Execution", "Event", "Agent", "Variable")
TAG = {"name": "Gateway", "description": "What the gateway itself serves."}

Said = dict[str, Any]

_JSON = "application/json"


def beside() -> Iterator[tuple[str, str, Said]]:
    """Path, verb and operation of each."""
    for path, verbs in PATHS.items():
        for verb, operation in verbs.items():
            yield path, verb, operation


def _operation(
    name: str,
    summary: str,
    more: str,
    good: Said,
    *,
    refused: tuple[int, ...] = (),
    body: Said | None = None,
    public: bool = True,
) -> Said:
    made: Said = {
        "operationId": name,
        "tags": [TAG["name"]],
        "summary": summary,
        "description": f"{summary}. {more}",
        "parameters": [],
        "responses": good | answers.refusals((429, 500, *refused)),
    }
    if body is not None:
        made["requestBody"] = {"required": True, "content": {_JSON: body}}
    return made | ({"security": []} if public else {})


def _object(required: tuple[str, ...] = (), **properties: Said) -> Said:
    return {"type": "object", "properties": properties, "required": list(required)}


def _text(about: str) -> Said:
    return {"type": "string", "description": about}


def _answer(status: int, about: str, schema: Said, kind: str = _JSON) -> Said:
    return {str(status): {"description": about, "content": {kind: {"schema": schema}}}}


def _file(name: str, summary: str, kind: str, schema: Said) -> Said:
    good = _answer(200, summary, schema, kind)
    good["200"]["headers"] = {"ETag": {"schema": {"type": "string"}, "required": True}}
    kept = {"304": {"description": "`If-None-Match` is what it was."}}
    return _operation(name, summary, "Needs no key.", good | kept)


_SIGNED_IN = _object(
    ("signed_in",),
    signed_in={"type": "boolean", "description": "Whether the browser has a session."},
    csrf_token=_text("Goes as `X-CSRF-Token` with every call of the session's that changes."),
    expires_in_secs={"type": "integer", "description": "How long it lasts."},
    me=reference("WhoAmIResponse"),
    key_file=_text("Where the admin's key lies on this host; only told there."),
)
_SIGNED_OUT = _object(("signed_in",), signed_in={"const": False})
_KEY = _object(("key",), key=_text("An API key, `kf_…`."))
_PATH = {
    **_object(("path",), path=_text("Path and query of a stream.")),
    "example": {"path": "/api/events/watch?kind_pattern=job.*"},
}
_TICKET = _object(
    ("ticket", "url", "expires_in_secs"),
    ticket=_text("Good for that stream, once."),
    url=_text("The stream's path with the ticket in its query."),
    expires_in_secs={"type": "integer", "description": "Until when it must be taken up."},
)

_NUMBER: Said = {"type": "integer", "minimum": 0}
_CONFIG = _object(
    ("version", "public_url", "mcp_enabled", "oidc_enabled", "rate_limits", "limits"),
    version=_text("The gateway's version."),
    public_url=_text("How browsers reach it, where the operator has said so; else empty."),
    mcp_enabled={"type": "boolean", "description": "Whether AI clients are served at `/mcp`."},
    oidc_enabled={"type": "boolean", "description": "Whether people may sign in by OIDC."},
    rate_limits=_object(
        ("enabled", "public", "authenticated", "agent"),
        enabled={"type": "boolean", "description": "Whether any call is limited."},
        public=_NUMBER | {"description": "Public calls a minute from one address; 0: any."},
        authenticated=_NUMBER | {"description": "Calls a minute with one key; 0: any number."},
        agent=_NUMBER | {"description": "Calls a minute with one credential; 0: any number."},
    ),
    limits=_object(("body_bytes",), body_bytes=_NUMBER | {"description": "Of a request."}),
)

_RPC = {"type": "object", "description": "A message of JSON-RPC 2.0."}
_SESSION = {
    "name": "Mcp-Session-Id",
    "in": "header",
    "description": "Of the revisions that have sessions.",
    "schema": {"type": "string"},
}

PATHS: Mapping[str, Mapping[str, Said]] = {
    "/mcp": {
        "post": _operation(
            "CallMcp",
            "Serves AI clients by the Model Context Protocol",
            "Streamable HTTP; the tools are those that the key may call.",
            {
                "200": {
                    "description": "The reply, or a stream of messages.",
                    "content": {_JSON: {"schema": _RPC}, "text/event-stream": {"schema": _RPC}},
                },
                "202": {"description": "A notification was taken."},
            },
            refused=(400, 401, 403, 404, 413, 415, 503),
            body={"schema": _RPC},
            public=False,
        ),
        "delete": {
            **_operation(
                "EndMcpSession",
                "Ends a session of an AI client",
                "Of the revisions that have sessions.",
                {"200": {"description": "It has ended."}},
                refused=(400, 401, 403, 404, 503),
                public=False,
            ),
            "parameters": [_SESSION],
        },
    },
    "/api/openapi.json": {
        "get": _file("ReadOpenApi", "This document", _JSON, {"type": "object"}),
    },
    "/api/docs": {
        "get": _file("ReadReference", "This reference, as a page", "text/html", {"type": "string"}),
    },
    "/api/config": {
        "get": _operation(
            "GetConfig",
            "Says what this gateway has and how much may be asked of it",
            "Needs no key.",
            _answer(200, "What is on, and limits.", _CONFIG),
        ),
    },
    "/metrics": {
        "get": _operation(
            "ReadMetrics",
            "Numbers for Prometheus",
            "Needs no key on the gateway's own machine, elsewhere any.",
            _answer(200, "The text that Prometheus reads.", {"type": "string"}, "text/plain"),
            refused=(401,),
            public=False,
        ),
    },
    "/api/auth/session": {
        "get": _operation(
            "GetSession",
            "Says whose browser session this is",
            "Needs no key: without a session it says so.",
            _answer(200, "The session, or that there is none.", _SIGNED_IN),
        ),
        "post": _operation(
            "SignIn",
            "Opens a session for a browser",
            "The key stays with the server; the browser keeps a cookie that scripts cannot read."
            " Calls with the cookie that change something need `X-CSRF-Token`.",
            _answer(200, "The session.", _SIGNED_IN),
            refused=(400, 401, 403, 413, 415),
            body={"schema": _KEY},
        ),
    },
    "/api/auth/logout": {
        "post": _operation(
            "SignOut",
            "Ends the browser's session",
            "Harmless where there is none.",
            _answer(200, "There is no session any more.", _SIGNED_OUT),
            refused=(403,),
        ),
    },
    "/api/stream-tickets": {
        "post": _operation(
            "CreateStreamTicket",
            "Makes a ticket for one stream",
            "For an EventSource, which can send no key: `?ticket=` stands for the key that asked"
            " for it, on this path and query, once, for a minute. Needs any key.",
            _answer(201, "The ticket.", _TICKET),
            refused=(400, 401, 403, 413, 415),
            body={"schema": _PATH},
            public=False,
        ),
    },
}
