"""Documented paths of what is not built yet: that, and no more, is said of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kronforce_gateway.not_yet import NOT_YET, NotYet
from kronforce_gateway.openapi import answers

TAG = {
    "name": "Not built yet",
    "description": "Documented paths that this version answers with 501.",
}


def later() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, verb and operation of each."""
    for each in NOT_YET:
        yield each.path, each.verb.lower(), _later(each)


def _later(each: NotYet) -> dict[str, Any]:
    summary = f"{each.feature[:1].upper()}{each.feature[1:]} not built yet"
    words = re.findall(r"[A-Za-z]+", f"{each.verb.lower()} {each.path.removeprefix('/api')}")
    made: dict[str, Any] = {
        "operationId": "Later" + "".join(word.title() for word in words),
        "tags": [TAG["name"]],
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
