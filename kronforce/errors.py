"""The one tree of errors that the controller answers with.

A class fixes the status code; the reason is the name of an `ErrorReason` of
the contract (without its prefix), so that programs never parse messages. What varies goes into
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
        if not self.reason:
            raise TypeError(f"{type(self).__name__} has no reason of its own; pass reason=")
        self.metadata = {key: str(value) for key, value in metadata.items()}
        self.violations = [v if isinstance(v, Violation) else Violation(*v) for v in violations]


class InvalidArgument(KronforceError):
    """The request is wrong whatever the state of the system; `violations` name the fields."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_FIELD"

    @classmethod
    def of(cls, *violations: tuple[str, str]) -> InvalidArgument:
        """The usual form: the message is made of the violations themselves."""
        message = "; ".join(f"{field}: {description}" for field, description in violations)
        return cls(message, violations=violations)


class InvalidPageToken(InvalidArgument):
    """A page token or cursor that was not made here, or for another filter: start over."""

    reason = "INVALID_PAGE_TOKEN"


class Unauthenticated(KronforceError):
    """No valid key came with the call."""

    code = Code.UNAUTHENTICATED
    reason = "BAD_KEY"


class BadJoinToken(Unauthenticated):
    """The join token is unknown, used up or expired: an admin makes another."""

    reason = "BAD_JOIN_TOKEN"


class BadSignature(Unauthenticated):
    """A delivery's signature is missing, wrong or too old: sign anew with the webhook's secret."""

    reason = "BAD_SIGNATURE"


class PermissionDenied(KronforceError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED
    reason = "ROLE_FORBIDS"


class NotAllowed(PermissionDenied):
    """What is named is there and not for the caller's groups or role; the message says which."""

    reason = "NOT_ALLOWED"


class NotFound(KronforceError):
    """There is no such thing, or the caller may not know that there is."""

    code = Code.NOT_FOUND
    reason = ""


class JobNotFound(NotFound):
    """No such job in the caller's groups."""

    reason = "JOB_NOT_FOUND"


class RunNotFound(NotFound):
    """No such run in the caller's groups."""

    reason = "RUN_NOT_FOUND"


class ExecutionNotFound(NotFound):
    """No such execution in the caller's groups."""

    reason = "EXECUTION_NOT_FOUND"


class AgentNotFound(NotFound):
    """No such agent."""

    reason = "AGENT_NOT_FOUND"


class KeyNotFound(NotFound):
    """No such API key."""

    reason = "KEY_NOT_FOUND"


class GroupNotFound(NotFound):
    """No such group."""

    reason = "GROUP_NOT_FOUND"


class VariableNotFound(NotFound):
    """No such variable that the caller may know of."""

    reason = "VARIABLE_NOT_FOUND"


class WebhookNotFound(NotFound):
    """The job has no webhook; or a token fires nothing, whatever the reason."""

    reason = "WEBHOOK_NOT_FOUND"


class AlreadyExists(KronforceError):
    """The name is taken."""

    code = Code.ALREADY_EXISTS
    reason = "NAME_TAKEN"


class RequestIdReused(AlreadyExists):
    """The request id was used before with other content."""

    reason = "REQUEST_ID_REUSED"


class WebhookExists(AlreadyExists):
    """The job has a webhook: rotate its token, or disable it."""

    reason = "WEBHOOK_EXISTS"


class Aborted(KronforceError):
    """Somebody changed it in between: read it again, then retry with its new etag."""

    code = Code.ABORTED
    reason = "ETAG_MISMATCH"


class StaleFence(Aborted):
    """A report under a fence that is no longer the current one; kept as evidence."""

    reason = "STALE_FENCE"


class SessionTaken(Aborted):
    """Another process of this agent holds the session."""

    reason = "SESSION_TAKEN"


class FailedPrecondition(KronforceError):
    """The state of the thing forbids it; retrying without a change does not help."""

    code = Code.FAILED_PRECONDITION
    reason = ""


class OutsideWindow(FailedPrecondition):
    """Outside the job's `starts_at` … `expires_at`; `force` runs it all the same."""

    reason = "OUTSIDE_WINDOW"


class JobPaused(FailedPrecondition):
    """The job is paused, and what fires it is automatic: resume it."""

    reason = "JOB_PAUSED"


class AlreadyTerminal(FailedPrecondition):
    """It has ended, so there is nothing left to change."""

    reason = "ALREADY_TERMINAL"


class NothingToRerun(FailedPrecondition):
    """No target of the run failed."""

    reason = "NOTHING_TO_RERUN"


class InUse(FailedPrecondition):
    """It is protected, or something still names it."""

    reason = "IN_USE"


class ProtocolVersion(FailedPrecondition):
    """The peer speaks a protocol version that this server does not."""

    reason = "PROTOCOL_VERSION"


class ProtocolViolation(FailedPrecondition):
    """The message breaks the stream's protocol."""

    reason = "PROTOCOL_VIOLATION"


class ResourceExhausted(KronforceError):
    """A named limit is reached; the message says which and how to go on."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"


class RateLimited(ResourceExhausted):
    """As many calls a minute as the caller may make were made."""

    reason = "RATE_LIMITED"


class QueueFull(ResourceExhausted):
    """Too many runs wait already."""

    reason = "QUEUE_FULL"


class DiskFull(ResourceExhausted):
    """Too little disk is free for triggers and output; reads and finishes go on."""

    reason = "DISK_FULL"


class OutOfRange(KronforceError):
    """A position (cursor, offset) beyond what is kept."""

    code = Code.OUT_OF_RANGE
    reason = "CURSOR_TOO_OLD"


class DeadlineExceeded(KronforceError):
    """The caller's deadline passed first; what was begun may still happen."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE"


class Unavailable(KronforceError):
    """Not now: retry with backoff, with the same request_id."""

    code = Code.UNAVAILABLE
    reason = "UNAVAILABLE"


class StoreFull(Unavailable):
    """The disk under the store is full to the last page: nothing was written, reads go on."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "DISK_FULL"


class StoreDamaged(Unavailable):
    """The database file is not whole: nothing was written; a backup is the way out."""


class Unimplemented(KronforceError):
    """This version does not offer it."""

    code = Code.UNIMPLEMENTED
    reason = "UNIMPLEMENTED"


class Internal(KronforceError):
    """A fault of ours; the correlation id in the metadata finds it in the log."""

    code = Code.INTERNAL
    reason = "INTERNAL"
