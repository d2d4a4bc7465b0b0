"""What went wrong, as HTTP says it: a status code and `{"error", "reason", "details"}`.

Text, reason and fields are those of the call's status, as over gRPC and MCP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson

from kronforce.api.transport import CallFailed
from kronforce_client.dialect import DialectError, Problem, path_text

# The client has gone before its answer; nobody reads this, logs do.
CLIENT_CLOSED_REQUEST = 499

# By the number of the status code (google.rpc.Code).
_BY_CODE: dict[int, int] = {
    1: CLIENT_CLOSED_REQUEST,
    3: HTTPStatus.BAD_REQUEST,
    4: HTTPStatus.GATEWAY_TIMEOUT,
    5: HTTPStatus.NOT_FOUND,
    6: HTTPStatus.CONFLICT,
    7: HTTPStatus.FORBIDDEN,
    8: HTTPStatus.TOO_MANY_REQUESTS,
    9: HTTPStatus.CONFLICT,
    10: HTTPStatus.CONFLICT,
    11: HTTPStatus.BAD_REQUEST,
    12: HTTPStatus.NOT_IMPLEMENTED,
    14: HTTPStatus.SERVICE_UNAVAILABLE,
    16: HTTPStatus.UNAUTHORIZED,
}
_UNAVAILABLE = 14
# A controller that restarts is back by then.
RETRY_SECS = 2
# Where the reason says more than the code.
_BY_REASON = {"DISK_FULL": HTTPStatus.INSUFFICIENT_STORAGE}
_HEADERS: dict[int, Mapping[str, str]] = {401: {"www-authenticate": "Bearer"}}


# Not frozen: context managers set the traceback of what they raise again.
@dataclass(slots=True, kw_only=True, eq=False)
class Failure(Exception):
    """The answer to a call that did not end well."""

    status: int
    error: str
    reason: str
    details: Sequence[Mapping[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """JSON text."""
        data = {"error": self.error, "reason": self.reason, "details": list(self.details)}
        try:
            return orjson.dumps(data)
        except orjson.JSONEncodeError:
            # A name of the caller's with half of a surrogate pair, which is no text.
            return json.dumps(data, ensure_ascii=False).encode(errors="replace")


def of_call(failed: CallFailed, names: Mapping[str, str] | None = None) -> Failure:
    """What a method answered, or what became of the call on its way there.

    `names`: what the caller calls some of the fields.
    """
    if failed.status.code == _UNAVAILABLE and not failed.reason:
        return unreachable()
    status = status_of(failed.status.code, failed.reason)
    details = [{"field": each.field, "message": each.description} for each in failed.violations]
    error = failed.message
    if names and error == _said(details):
        for each in details:
            each["field"] = names.get(each["field"], each["field"])
        error = _said(details)
    return Failure(
        status=status,
        error=error,
        reason=failed.reason or "INTERNAL",
        details=details,
        headers=_headers(status, failed),
    )


def status_of(code: int, reason: str) -> int:
    """By the number of a status code, where the reason does not say more."""
    return int(_BY_REASON.get(reason) or _BY_CODE.get(code, HTTPStatus.INTERNAL_SERVER_ERROR))


def _headers(status: int, failed: CallFailed) -> Mapping[str, str]:
    headers = _HEADERS.get(status, {})
    seconds = failed.metadata.get("retry_secs", "")
    return {**headers, "retry-after": seconds} if seconds.isdecimal() else headers


def _said(details: Sequence[Mapping[str, str]]) -> str:
    """The usual message about fields."""
    return "; ".join(f"{each['field']}: {each['message']}" for each in details)


def of_document(
    error: DialectError, *, below: str = "", names: Mapping[str, str] | None = None
) -> Failure:
    """What is wrong with a body or a query, by fields as they stand there.

    `below` is the request's field that the body is, `names` is as of `of_call`.
    """
    problems = [_relative(problem, below, names or {}) for problem in error.problems]
    return Failure(
        status=HTTPStatus.BAD_REQUEST,
        error="; ".join(map(str, problems)),
        reason="INVALID_FIELD",
        details=[_detail(problem) for problem in problems],
    )


def _relative(problem: Problem, below: str, names: Mapping[str, str]) -> Problem:
    path = problem.path
    if below and path[:1] == (below,):
        path = path[1:]
    elif path and path[0] in names:
        path = (names[str(path[0])], *path[1:])
    return Problem(path=path, message=problem.message, hint=problem.hint)


def _detail(problem: Problem) -> dict[str, str]:
    detail = {"field": path_text(problem.path), "message": problem.message}
    return detail | ({"hint": problem.hint} if problem.hint else {})


def not_found(path: str) -> Failure:
    return Failure(
        status=HTTPStatus.NOT_FOUND,
        error=f"there is nothing at {_shown(path)}",
        reason="NO_SUCH_PATH",
    )


def wrong_verb(verb: str, path: str, allowed: Sequence[str]) -> Failure:
    return Failure(
        status=HTTPStatus.METHOD_NOT_ALLOWED,
        error=f"{_shown(path)} does not take {verb}; it takes {', '.join(allowed)}",
        reason="WRONG_VERB",
        headers={"allow": ", ".join(allowed)},
    )


def unreachable() -> Failure:
    return Failure(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        error="the controller does not answer; this gateway goes on trying",
        reason="CONTROLLER_UNREACHABLE",
        headers={"retry-after": str(RETRY_SECS)},
    )


def gone() -> Failure:
    return Failure(
        status=CLIENT_CLOSED_REQUEST,
        error="the caller has gone before its request was whole",
        reason="CALLER_GONE",
    )


def _shown(path: str) -> str:
    """A path as a message names it: what makes it a secret is left out."""
    return _TOKEN.sub(r"\1…", path[:200])


# A webhook's token, and what may be one: messages end in logs.
_TOKEN = re.compile(r"(/api/webhooks/|kfw_).+", re.IGNORECASE)


def too_large(limit: int) -> Failure:
    shown = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit:,} bytes"
    return Failure(
        status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        error=f"the body is larger than {shown}",
        reason="BODY_TOO_LARGE",
    )


def unread_body() -> Failure:
    return Failure(
        status=HTTPStatus.BAD_REQUEST,
        error="this call takes no body; send its fields in the query",
        reason="INVALID_FIELD",
        details=[{"field": "", "message": "this call takes no body"}],
    )


def wrong_type(found: str) -> Failure:
    return Failure(
        status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        error=f"the body is {found[:100]}; send it with Content-Type: application/json",
        reason="WRONG_CONTENT_TYPE",
    )
