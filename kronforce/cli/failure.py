"""Errors that teach: what, where, why, next; and the number that the command ends with."""

from __future__ import annotations

from collections.abc import Sequence

from kronforce.cli.exit_codes import Exit
from kronforce_client import errors
from kronforce_client.errors import ClientError


class CommandError(Exception):
    """Something that the command itself finds wrong."""

    def __init__(self, message: str, *hints: str, code: Exit = Exit.ERROR) -> None:
        super().__init__(message)
        self.message = message
        self.hints = hints
        self.code = code


_CODES: tuple[tuple[type[ClientError], Exit], ...] = (
    (errors.NotFound, Exit.NOT_FOUND),
    (errors.Unauthenticated, Exit.BAD_KEY),
    (errors.Forbidden, Exit.FORBIDDEN),
    (errors.Conflict, Exit.CONFLICT),
    (errors.Unreachable, Exit.UNREACHABLE),
    (errors.TimedOut, Exit.TIMED_OUT),
)


# Fields that a flag fills in, by the name that a person typed.
_FLAGS = {"page_size": "--limit", "kind_pattern": "--kind", "trigger.job_id": "job"}


def code_of(error: ClientError) -> Exit:
    """The number for an error of a call."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return Exit.ERROR


def lines_of(error: ClientError, *, key_was_sent: bool = True) -> list[str]:
    """The error's text: the first line says what and where, the others why and what next."""
    if error.violations:
        return [
            f"{_FLAGS.get(each.field, each.field)}  {each.description}" for each in error.violations
        ]
    return [error.message, *hints_of(error, key_was_sent=key_was_sent)]


def hints_of(error: ClientError, *, key_was_sent: bool) -> Sequence[str]:
    """What to do about it."""
    if isinstance(error, errors.Unreachable):
        if "TLS" in error.detail or "certificate" in error.detail:
            return ["which certificate does it have?  --ca FILE    without TLS: --insecure"]
        running = "is the server running?  kronforce up"
        if "connection closed" in error.message:
            # What a TLS server does with plain text, among others.
            running = "does it want TLS?  --ca FILE"
        return [f"{running}    another address: --address or kronforce login"]
    if isinstance(error, errors.Unauthenticated):
        if not key_was_sent:
            return ["no key was found: --key, KRONFORCE_KEY or kronforce login"]
        return ["another key: --key, KRONFORCE_KEY or kronforce login"]
    if isinstance(error, errors.Forbidden):
        needs = f"needs {error.needs}; " if error.needs else ""
        return [f"{needs}who am I?  kronforce key whoami"]
    if error.reason == "ETAG_MISMATCH":
        return ["it changed meanwhile: look at it again, then repeat the command"]
    if isinstance(error, errors.Unsupported):
        return ["the server may be older than this command: kronforce version"]
    return []
