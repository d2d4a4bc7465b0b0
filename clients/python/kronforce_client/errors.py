"""What a call can end with, as exceptions that tell a program and a person what to do.

Every error has the server's message, its `reason` (a name of `ErrorReason`), the violations by
field where input was wrong, and whatever metadata came with it. This module imports nothing, so
that catching an error never loads a transport.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kronforce.v1.run_pb2 import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One wrong field: its path, and what it must be."""

    field: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFacts:
    """What the server said beside the message."""

    reason: str = ""
    violations: Sequence[Violation] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


class ClientError(Exception):
    """The base of everything this client raises on purpose."""

    def __init__(self, message: str, facts: ErrorFacts | None = None) -> None:
        super().__init__(message)
        self.message = message
        facts = facts or ErrorFacts()
        self.reason = facts.reason
        self.violations = list(facts.violations)
        self.metadata = dict(facts.metadata)


class NotFound(ClientError):
    """There is no such thing, or the key may not see it."""


class NeverRan(NotFound):
    """There is no run to show: none was made yet, or none of them is kept any more."""


class Conflict(ClientError):
    """The state of the resource refuses it: name taken, etag outdated, already ended, in use."""


class Invalid(ClientError):
    """The request is wrong whatever the state; `field` and `hint` are the first violation's."""

    @property
    def field(self) -> str:
        """The path of the first wrong field; empty when none was named."""
        return self.violations[0].field if self.violations else ""

    @property
    def hint(self) -> str:
        """What the first wrong field must be."""
        return self.violations[0].description if self.violations else self.message


class Forbidden(ClientError):
    """The key is known, but its role does not grant this."""

    @property
    def needs(self) -> str:
        """The permission that is missing; empty when the server did not say."""
        return self.metadata.get("permission", "") or self.metadata.get("needs", "")


class Unauthenticated(ClientError):
    """No key was sent, or it is unknown, expired or revoked."""


class Unreachable(ClientError):
    """The server cannot be reached or is not ready; trying again later may work."""

    def __init__(
        self, message: str, facts: ErrorFacts | None = None, *, address: str = "", detail: str = ""
    ) -> None:
        super().__init__(message, facts)
        self.address = address
        self.detail = detail


class TimedOut(ClientError):
    """The answer, or what was waited for, did not come in time."""


class Overloaded(ClientError):
    """The server has no room now: queue full, disk full, limits reached."""


class CursorTooOld(ClientError):
    """What the cursor named is no longer kept: start again without it."""


class Unsupported(ClientError):
    """This server does not have that method yet."""


class ServerFault(ClientError):
    """A fault of the server; the message has a correlation id for its log."""


class RunFailed(Exception):
    """A run that was waited for ended in another way than success."""

    def __init__(self, run: Run, *, state: str, last_lines: Sequence[str], address: str) -> None:
        self.run = run
        self.run_id = run.id
        self.state = state
        self.last_lines = list(last_lines)
        self.address = address
        why = run.message or run.state_reason
        tail = "".join(f"\n  {line}" for line in self.last_lines)
        super().__init__(f"run {run.id} of {run.job_name} {state}{f': {why}' if why else ''}{tail}")
