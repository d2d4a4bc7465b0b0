"""What the few paths share that are the door's own and no method's."""

from __future__ import annotations

from typing import Any

import orjson

from kronforce_gateway import failures
from kronforce_gateway.calls import Scope

_VERBS = ("GET", "HEAD")


def check_verb(scope: Scope, path: str) -> None:
    """They are read. Raises Failure for anything else."""
    if scope["method"] not in _VERBS:
        raise failures.wrong_verb(scope["method"], path, _VERBS)


def answer_json(scope: Scope, data: Any) -> bytes:
    """The body of an answer; of a HEAD none."""
    return b"" if scope["method"] == "HEAD" else orjson.dumps(data)
