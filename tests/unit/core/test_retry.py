import random

import pytest

from kronforce.core.lifecycle import TERMINAL, Reason, State
from kronforce.core.retry import RetryAt, RetryPolicy, decide_retry, parse_retry_on

RNG = random.Random(7)


def retry(
    policy: RetryPolicy,
    attempt_number: int = 1,
    *,
    lost_attempts: int = 0,
    state: State = State.FAILED,
    reason: Reason = Reason.EXIT_CODE,
    exit_code: int | None = 1,
) -> RetryAt | None:
    return decide_retry(
        policy,
        attempt_number=attempt_number,
        lost_attempts=lost_attempts,
        state=state,
        reason=reason,
        exit_code=exit_code,
        rng=RNG,
    )


def test_delays_grow_by_the_backoff() -> None:
    policy = RetryPolicy(retry_max=3, delay_secs=5, backoff=2.0)

    decided = [retry(policy, attempt) for attempt in (1, 2, 3, 4)]

    assert decided == [
        RetryAt(attempt_number=2, delay_secs=5),
        RetryAt(attempt_number=3, delay_secs=10),
        RetryAt(attempt_number=4, delay_secs=20),
        None,
    ]


def test_nothing_is_retried_unless_the_job_says_so() -> None:
    assert retry(RetryPolicy()) is None


def test_delays_stop_at_the_longest_even_when_the_arithmetic_overflows() -> None:
    policy = RetryPolicy(retry_max=2000, delay_secs=5, backoff=100.0, max_delay_secs=60)

    for attempt in (2, 50, 1999):
        decided = retry(policy, attempt)
        assert decided is not None
        assert decided.delay_secs == 60


def test_jitter_spreads_within_its_share_and_never_above_the_longest() -> None:
    policy = RetryPolicy(retry_max=1, delay_secs=100, jitter=0.2, max_delay_secs=110)

    delays = {decided.delay_secs for _ in range(500) if (decided := retry(policy))}

    assert min(delays) >= 80
    assert max(delays) == 110
    assert len(delays) > 100


@pytest.mark.parametrize(
    ("state", "reason", "exit_code", "retried"),
    [
        (State.FAILED, Reason.EXIT_CODE, 1, True),
        (State.FAILED, Reason.SIGNAL, None, True),
        (State.FAILED, Reason.START_FAILED, None, True),
        (State.TIMED_OUT, Reason.TIMEOUT, None, True),
        (State.TIMED_OUT, Reason.RUN_TIMEOUT, None, False),
        (State.FAILED, Reason.ASSERTION, 0, False),
        (State.FAILED, Reason.OUTPUT_SCHEMA, 0, False),
        (State.FAILED, Reason.UNSUPPORTED, None, False),
        (State.CANCELLED, Reason.CANCELLED, 1, False),
        (State.LOST, Reason.AGENT_LOST, None, False),
    ],
)
def test_what_is_retried_by_default(
    state: State, reason: Reason, exit_code: int | None, retried: bool
) -> None:
    decided = retry(RetryPolicy(retry_max=1), state=state, reason=reason, exit_code=exit_code)

    assert (decided is not None) is retried


def test_by_default_only_failures_and_timeouts_are_retried() -> None:
    policy = RetryPolicy(retry_max=1)

    retried = {state for state in TERMINAL if retry(policy, state=state, reason=Reason.NONE)}

    assert retried == {State.FAILED, State.TIMED_OUT}


def test_exit_codes_choose_among_failures() -> None:
    states, exit_codes = parse_retry_on(["exit:75", "exit:1"])
    policy = RetryPolicy(retry_max=1, states=states, exit_codes=exit_codes)

    assert retry(policy, exit_code=75)
    assert not retry(policy, exit_code=2)
    assert not retry(policy, exit_code=None, reason=Reason.SIGNAL)
    assert not retry(policy, state=State.TIMED_OUT, exit_code=75)


def test_lost_attempts_do_not_use_up_retries_nor_lengthen_delays() -> None:
    policy = RetryPolicy(retry_max=1, delay_secs=5, backoff=2.0)

    assert retry(policy, 3, lost_attempts=2) == RetryAt(attempt_number=4, delay_secs=5)
    assert retry(policy, 4, lost_attempts=2) is None


def test_retry_on_is_read() -> None:
    assert parse_retry_on(["failed", "timed_out"]) == (RetryPolicy().states, frozenset())
    assert parse_retry_on([]) == (frozenset(), frozenset())


def test_a_status_of_an_http_task_is_an_exit_code_to_retry_on() -> None:
    assert parse_retry_on(["exit:503", "exit:599"]) == (frozenset(), frozenset({503, 599}))


@pytest.mark.parametrize("word", ["lost", "exit:0", "exit:600", "exit:", "75", "exit:٣", "Failed"])
def test_unknown_words_of_retry_on_are_refused_with_the_known_ones(word: str) -> None:
    with pytest.raises(ValueError, match="failed, timed_out, or exit:1"):
        parse_retry_on([word])
