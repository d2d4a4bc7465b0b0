"""Whether a failed attempt is tried again, and when.

Loss is not a retry: `delivery.py` decides about it, and lost attempts do not
use up `retry_max`. Nothing that would fail the same way again by decision
(assertions, schemas, the run's own deadline) is retried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kronforce.core.lifecycle import Reason, State

EXIT_CODE_MAX = 599
"""A process has at most 255; an http task's exit code is its status."""

_EXIT_PREFIX = "exit:"
_RETRIABLE_WORDS = {State.FAILED.word: State.FAILED, State.TIMED_OUT.word: State.TIMED_OUT}

# Ended so by rule or by a person: another attempt would not change it.
_FINAL_REASONS = frozenset(
    {
        Reason.ASSERTION,
        Reason.OUTPUT_SCHEMA,
        Reason.RUN_TIMEOUT,
        Reason.REPLACED,
        Reason.UNSUPPORTED,
    }
)


class Uniform(Protocol):
    """The part of `random.Random` that jitter needs."""

    def uniform(self, a: float, b: float, /) -> float: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """A job's retry fields, with the contract's defaults; delays in seconds."""

    retry_max: int = 0
    delay_secs: float = 0.0
    backoff: float = 1.0
    max_delay_secs: float = 3600.0
    jitter: float = 0.0
    states: frozenset[State] = frozenset({State.FAILED, State.TIMED_OUT})
    exit_codes: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryAt:
    """The next attempt: its number and how long after the end of this one it is due."""

    attempt_number: int
    delay_secs: float


def parse_retry_on(words: list[str]) -> tuple[frozenset[State], frozenset[int]]:
    """Read `retry_on`: `failed`, `timed_out`, `exit:75`.

    Raises ValueError with a sentence about the first word that is none of these.
    """
    states: set[State] = set()
    exit_codes: set[int] = set()
    for word in words:
        if word in _RETRIABLE_WORDS:
            states.add(_RETRIABLE_WORDS[word])
        else:
            exit_codes.add(_parse_exit_code(word))
    return frozenset(states), frozenset(exit_codes)


def _parse_exit_code(word: str) -> int:
    digits = word.removeprefix(_EXIT_PREFIX)
    known = digits != word and digits.isascii() and digits.isdigit() and len(digits) <= 3
    if not known or not 1 <= int(digits) <= EXIT_CODE_MAX:
        raise ValueError(
            f"{word!r} is not known; use failed, timed_out, or exit:1 to exit:{EXIT_CODE_MAX}"
        )
    return int(digits)


def decide_retry(
    policy: RetryPolicy,
    *,
    attempt_number: int,
    lost_attempts: int = 0,
    state: State,
    reason: Reason | str = Reason.NONE,
    exit_code: int | None = None,
    rng: Uniform,
) -> RetryAt | None:
    """The retry that follows attempt `attempt_number` (from 1), or None.

    `lost_attempts` are those before it that ended lost and were run again.
    """
    tried = attempt_number - lost_attempts
    if tried > policy.retry_max or not _is_retriable(policy, state, reason, exit_code):
        return None
    return RetryAt(attempt_number=attempt_number + 1, delay_secs=_delay(policy, tried, rng))


def _is_retriable(
    policy: RetryPolicy, state: State, reason: Reason | str, exit_code: int | None
) -> bool:
    if reason in _FINAL_REASONS:
        return False
    if state in policy.states:
        return True
    return state is State.FAILED and exit_code in policy.exit_codes


def _delay(policy: RetryPolicy, tried: int, rng: Uniform) -> float:
    """delay × backoff^(n−1), spread by ± jitter, never above the longest delay."""
    try:
        delay = policy.delay_secs * policy.backoff ** (tried - 1)
    except OverflowError:
        delay = policy.max_delay_secs
    delay = min(delay, policy.max_delay_secs)
    if policy.jitter:
        delay *= 1 + rng.uniform(-policy.jitter, policy.jitter)
    return min(delay, policy.max_delay_secs)
