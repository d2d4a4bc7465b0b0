"""What a call may answer when it does not go well: one component for each status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from google.rpc import code_pb2

from kronforce_client.dialect.schema import Schema
from kronforce_gateway import failures
from kronforce_gateway.openapi.schemas import reference

PLACE = "#/components/responses/"

ERROR: Schema = {
    "type": "object",
    "description": "What went wrong: the same text, reason and fields as over gRPC and MCP.",
    "properties": {
        "error": {"type": "string", "description": "For people; it may change."},
        "reason": {
            "type": "string",
            "description": "For programs: an `ErrorReason` of the contract without its prefix,"
            " or one of the gateway's own (`NO_SUCH_PATH`, `WRONG_VERB`, `BODY_TOO_LARGE`,"
            " `WRONG_CONTENT_TYPE`).",
            "pattern": "^[A-Z][A-Z0-9_]*$",
        },
        "details": {
            "type": "array",
            "description": "The fields that are wrong, by their paths in the request.",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string", "description": "For example `task.headers[2]`."},
                    "message": {"type": "string", "description": "What is wrong with it."},
                    "hint": {"type": "string", "description": "What was perhaps meant."},
                },
                "required": ["field", "message"],
            },
        },
    },
    "required": ["error", "reason", "details"],
    "example": {
        "error": 'schedule.value: "0 6 * * 1-5" has 5 fields, cron here has 6 (seconds first)',
        "reason": "INVALID_FIELD",
        "details": [{"field": "schedule.value", "message": "has 5 fields, cron here has 6"}],
    },
}

MEANINGS: Mapping[int, str] = {
    400: "A field of the path, the query or the body is wrong; `details` names each.",
    401: "No key was sent, or it is unknown, expired or revoked.",
    403: "The key's role does not allow the call, or its groups do not.",
    404: "There is no such thing, or the key may not see it.",
    405: "The path does not take this method; `Allow` says which it takes.",
    408: "The body did not come in time.",
    409: "It contradicts what is there now: a name that is taken, a state that has passed.",
    412: "`If-Match` is not the current `ETag`: read again.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    429: "Too many calls, or a queue is full: try again after `Retry-After`.",
    500: "A fault of the server; the text has an id that finds it in the server's log.",
    501: "Not built yet in this version.",
    503: "The store is away, or the server is stopping: try again.",
    504: "The deadline ended before the answer.",
    507: "Less disk is free than is kept in reserve.",
}
_HEADERS: Mapping[int, Schema] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "required": True}},
    405: {"Allow": {"schema": {"type": "string"}, "required": True}},
}
# Whatever is called.
ALWAYS = (400, 429, 500, 503, 504)
WITH_A_KEY = (401, 403)
WITH_A_BODY = (413, 415)


def responses() -> dict[str, Schema]:
    """The components."""
    return {_name(status): _response(status) for status in MEANINGS}


def refusals(statuses: Iterable[int]) -> dict[str, Schema]:
    """References to them, for an operation."""
    return {str(status): {"$ref": PLACE + _name(status)} for status in sorted(set(statuses))}


def status_of(code: str, reason: str) -> int:
    """Of a reason, by the name of its status code."""
    return failures.status_of(code_pb2.Code.Value(code), reason)


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")


def _response(status: int) -> Schema:
    made: Schema = {"description": MEANINGS[status]}
    if status in _HEADERS:
        made["headers"] = _HEADERS[status]
    return made | {"content": {"application/json": {"schema": reference("Error")}}}
