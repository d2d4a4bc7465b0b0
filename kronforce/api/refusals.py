"""What a call that was refused for its role wanted: for the audit log, where it was an admin's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kronforce.api.access import Method
from kronforce.api.call import Call
from kronforce.core.access import administers
from kronforce.engine.audit_log import AuditLog
from kronforce.errors import PermissionDenied
from kronforce.telemetry import logs

# Of a name or id that a refused call gave.
TEXT_MAX = 200

log = logs.logger("api")

Refused = Callable[[Method, Any, Call, PermissionDenied], Awaitable[None]]


def recorder(audit_log: AuditLog) -> Refused:
    """What the chain calls with each refusal."""

    async def refused(method: Method, request: Any, call: Call, error: PermissionDenied) -> None:
        if not administers(method.permission):
            return
        details = {
            "permission": method.permission,
            "role": str(call.scope.role),
            "message": error.message,
            **_target(request),
        }
        name = method.name.rpartition(".")[2]
        try:
            await audit_log.refuse(call.principal, name, details)
        except Exception:
            # The call is refused all the same.
            log.exception("a refusal is not in the audit log", action="audit.refusal_lost")

    return refused


async def nobody(_method: Method, _request: Any, _call: Call, _error: PermissionDenied) -> None:
    """Tell nobody."""


def _target(request: Any) -> dict[str, str]:
    """The ids and names that a request has at its top."""
    if not isinstance(request, Message):
        return {}
    return {
        field.name: value[:TEXT_MAX]
        for field, value in request.ListFields()
        if field.type == FieldDescriptor.TYPE_STRING
        and isinstance(value, str)
        and (field.name.endswith("_id") or field.name == "name")
    }
