"""Our errors as `google.rpc.Status`: exactly one ErrorInfo, BadRequest where fields are wrong.

The only place that turns one into the other, in both directions: for the
status of a call on any transport, and for the statuses inside a batch's reply.
"""

from __future__ import annotations

from google.rpc import error_details_pb2, status_pb2

from kronforce.errors import Internal, KronforceError

DOMAIN = "kronforce"

# A status travels in the trailers, and clients allow those 8 KiB in all.
MAX_MESSAGE = 2_000
MAX_VIOLATIONS = 20


def to_status(error: KronforceError) -> status_pb2.Status:
    """The error as it goes out."""
    status = status_pb2.Status(code=error.code.value, message=error.message[:MAX_MESSAGE])
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    status.details.add().Pack(info)
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations[:MAX_VIOLATIONS]:
            bad.field_violations.add(field=violation.field, description=violation.description)
        status.details.add().Pack(bad)
    return status


def unexpected(correlation_id: str) -> Internal:
    """What a caller learns of a fault of ours."""
    return Internal(
        f"a fault of the server; its log knows more under {correlation_id}",
        correlation_id=correlation_id,
    )
