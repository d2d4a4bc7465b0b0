"""What the gateway serves beside the contract's methods, said by hand, and what it will serve."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kronforce_gateway.not_yet import NOT_YET, NotYet
from kronforce_gateway.openapi import answers

# What people look for first; the rest follows by name.
FIRST = ("Job", "Execution", "Event", "Agent", "Variable")
TAGS = (
    {"name": "Gateway", "description": "What the gateway itself serves."},
    {
        "name": "Not built yet",
        "description": "Documented paths that this version answers with 501.",
    },
)


def beside() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, verb and operation of each."""
    for path, operation in _PAGES.items():
        yield path, "get", operation
    for each in NOT_YET:
        yield each.path, each.verb.lower(), _later(each)


def _page(name: str, summary: str, kind: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "tags": ["Gateway"],
        "summary": summary,
        "description": f"{summary}. Needs no key.",
        "security": [],
        "parameters": [],
        "responses": {
            "200": {
                "description": summary,
                "headers": {"ETag": {"schema": {"type": "string"}, "required": True}},
                "content": {kind: {"schema": {"type": _TYPES.get(kind, "string")}}},
            },
            "304": {"description": "`If-None-Match` is what it was."},
        },
    }


_TYPES = {"application/json": "object"}
_PAGES: Mapping[str, dict[str, Any]] = {
    "/api/openapi.json": _page("ReadOpenApi", "This document", "application/json"),
    "/api/docs": _page("ReadReference", "The reference of this API, as a page", "text/html"),
}


def _later(each: NotYet) -> dict[str, Any]:
    summary = f"{each.feature[:1].upper()}{each.feature[1:]} not built yet"
    words = re.findall(r"[A-Za-z]+", f"{each.verb.lower()} {each.path.removeprefix('/api')}")
    made: dict[str, Any] = {
        "operationId": "Later" + "".join(word.title() for word in words),
        "tags": ["Not built yet"],
        "summary": summary,
        "description": f"{summary}: this version answers 501, whatever is sent.",
        "parameters": [_in_path(name) for name in re.findall(r"\{([^}]+)\}", each.path)],
        "responses": answers.refusals([429, 501] if each.public else [401, 429, 501]),
        "x-not-yet": True,
    }
    return made | ({"security": []} if each.public else {})


def _in_path(name: str) -> dict[str, Any]:
    about = "An id or a name."
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": about, "schema": schema}
