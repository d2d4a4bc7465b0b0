"""From a delivery's body to the params of a run; pure.

What a webhook may say is params. In an envelope anything else is refused by
name, so that a sender who tries `force` learns that it does nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import Any

from google.protobuf.struct_pb2 import Struct

from kronforce.core.params_rules import JSON_BYTES_MAX
from kronforce.errors import InvalidArgument
from kronforce.v1.job_service_pb2 import TriggerJobRequest
from kronforce.v1.webhook_pb2 import WEBHOOK_BODY_IGNORED, WEBHOOK_BODY_PARAMS
from kronforce_client.dialect import DialectError, Problem, loads, parse, path_text

_PARAMS = "params"


def params_in(body: bytes, body_as: int, declared: Collection[str] | None) -> Struct | None:
    """The run's params; None: its defaults. `declared` are the job's parameters, if it has any.

    Raises InvalidArgument.
    """
    if body_as == WEBHOOK_BODY_IGNORED or not body.strip():
        return None
    if (body_as != WEBHOOK_BODY_PARAMS or declared is None) and len(body) > JSON_BYTES_MAX:
        # Before it is read: all of it would be params.
        raise InvalidArgument.of(
            ("body", f"has {len(body):,} bytes; params are at most {JSON_BYTES_MAX:,}")
        )
    try:
        content = _object(_json(body))
        if body_as == WEBHOOK_BODY_PARAMS:
            given: Any = _known(content, declared)
        else:
            given = _enveloped(content)
        return _struct(given)
    except DialectError as error:
        problems = [(path_text(each.path) or "body", each.message) for each in error.problems]
        raise InvalidArgument.of(*problems) from None


def _json(body: bytes) -> Any:
    try:
        return loads(body)
    except DialectError as error:
        [first, *_] = error.problems
        about = f"{first.message}; have the sender send JSON (its content type may be a choice)"
        raise DialectError([Problem(path=first.path, message=about)]) from None


def _object(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise DialectError([Problem(path=(), message="must be a JSON object")])
    return content


def _known(content: dict[str, Any], declared: Collection[str] | None) -> dict[str, Any]:
    if declared is None:
        return content
    return {name: value for name, value in content.items() if name in declared}


def _enveloped(content: dict[str, Any]) -> Any:
    others = (name for name in content if name != _PARAMS)
    if wrong := [_not_taken(name) for name in islice(others, _NAMED)]:
        raise DialectError(wrong)
    return content.get(_PARAMS)


def _not_taken(name: str) -> Problem:
    return Problem(
        path=(_shown(name),),
        message='is not taken: a webhook gives {"params": {…}} and nothing else; to have the whole'
        " body as params, enable it with body_as params",
    )


def _shown(name: str) -> str:
    """A field as a message can hold it: not half of a surrogate pair, nor a megabyte."""
    return name[:_NAME_SHOWN].encode(errors="replace").decode()


_NAME_SHOWN = 100
# Wrong fields that a refusal names; somebody else's event may have a hundred.
_NAMED = 5


def _struct(given: Any) -> Struct | None:
    if given is None:
        return None
    request: Any = parse(TriggerJobRequest, {_PARAMS: given})
    params: Struct = request.params
    return params
