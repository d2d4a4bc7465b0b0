"""The one tree of errors that the controller answers with.

A class fixes the status code; the reason is the name of an `ErrorReason` of
the contract, so that programs never parse messages. What varies goes into
`metadata` (text to text); the message says what is wrong and what to do next.
Servicers and use cases raise these, one interceptor at the edge translates
them. This module knows nothing of grpc.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class Code(Enum):
    """Status codes under gRPC's names and numbers."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field: its path as the caller wrote it, and what it must be."""

    field: str
    description: str


class KronforceError(Exception):
    """Something a caller is told about, with a reason that a program can act on."""

    code: ClassVar[Code] = Code.INTERNAL
    reason: str = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        violations: Iterable[Violation | tuple[str, str]] = (),
        **metadata: object,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason
        self.metadata = {key: str(value) for key, value in metadata.items()}
        self.violations = [v if isinstance(v, Violation) else Violation(*v) for v in violations]


class InvalidArgument(KronforceError):
    """The request is wrong whatever the state of the system; `violations` name the fields."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    @classmethod
    def of(cls, *violations: tuple[str, str], reason: str | None = None) -> InvalidArgument:
        """The usual form: the message is made of the violations themselves."""
        message = "; ".join(f"{field}: {description}" for field, description in violations)
        return cls(message, reason=reason, violations=violations)


class NotFound(KronforceError):
    """There is no such thing, or the caller may not know that there is."""

    code = Code.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(KronforceError):
    """The name, or the request id with another content, is taken."""

    code = Code.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class FailedPrecondition(KronforceError):
    """The state of the thing forbids it; retrying without a change does not help."""

    code = Code.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class Aborted(KronforceError):
    """Somebody changed it in between: read it again, then retry with its new etag."""

    code = Code.ABORTED
    reason = "ETAG_MISMATCH"


class PermissionDenied(KronforceError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class Unauthenticated(KronforceError):
    """No valid key came with the call."""

    code = Code.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class ResourceExhausted(KronforceError):
    """A named limit is reached; the message says which and how to go on."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "RESOURCE_EXHAUSTED"


class OutOfRange(KronforceError):
    """A position (cursor, offset) beyond what is kept."""

    code = Code.OUT_OF_RANGE
    reason = "OUT_OF_RANGE"


class DeadlineExceeded(KronforceError):
    """The caller's deadline passed first; what was begun may still happen."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class Unavailable(KronforceError):
    """Not now: retry with backoff, with the same request_id."""

    code = Code.UNAVAILABLE
    reason = "UNAVAILABLE"


class Unimplemented(KronforceError):
    """This server does not offer it."""

    code = Code.UNIMPLEMENTED
    reason = "UNIMPLEMENTED"


class Internal(KronforceError):
    """A fault of ours; the correlation id in the metadata finds it in the log."""

    code = Code.INTERNAL
    reason = "INTERNAL"
