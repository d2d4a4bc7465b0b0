from itertools import permutations, product

import pytest

from kronforce.core.lifecycle import (
    DERIVED,
    OPEN,
    TERMINAL,
    WORST_FIRST,
    Reason,
    Report,
    State,
    can_move,
    can_move_run,
    decide_outcome,
    is_terminal,
    run_state,
    sources_of,
    worst,
)


def test_numbers_are_those_of_the_contract() -> None:
    contract = (
        "pending pending_approval running succeeded failed timed_out "
        "cancelled skipped expired rejected lost"
    )

    assert [state.word for state in State] == contract.split()
    assert [state.value for state in State] == list(range(1, 12))


def test_terminal_states_never_change() -> None:
    for before, after in product(TERMINAL, State):
        assert not can_move(before, after)
        assert not can_move_run(before, after)


def test_moves_go_forward_only() -> None:
    order = [State.PENDING_APPROVAL, State.PENDING, State.RUNNING]

    for before, after in product(order, order):
        forward = order.index(after) == order.index(before) + 1
        assert can_move(before, after) == forward


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (State.PENDING, State.SUCCEEDED, True),
        (State.PENDING, State.LOST, True),
        (State.PENDING, State.EXPIRED, True),
        (State.PENDING, State.REJECTED, False),
        (State.PENDING_APPROVAL, State.REJECTED, True),
        (State.PENDING_APPROVAL, State.RUNNING, False),
        (State.PENDING_APPROVAL, State.SUCCEEDED, False),
        (State.RUNNING, State.SKIPPED, False),
        (State.RUNNING, State.EXPIRED, False),
        (State.RUNNING, State.REJECTED, False),
        (State.RUNNING, State.RUNNING, False),
    ],
)
def test_legal_moves_of_an_execution(before: State, after: State, allowed: bool) -> None:
    assert can_move(before, after) is allowed


def test_the_sources_of_a_state_are_the_other_side_of_its_moves() -> None:
    for before, after in product(State, State):
        assert (before in sources_of(after)) == can_move(before, after)
    assert sources_of(State.RUNNING) == (State.PENDING,)


def test_a_started_run_may_still_end_as_any_of_its_targets_did() -> None:
    assert can_move_run(State.RUNNING, State.EXPIRED)
    assert can_move_run(State.PENDING, State.RUNNING)
    assert not can_move_run(State.RUNNING, State.PENDING)
    assert not can_move_run(State.PENDING, State.PENDING)


def test_every_terminal_state_has_a_place_among_the_worst() -> None:
    assert set(WORST_FIRST) == TERMINAL
    assert frozenset(State) == OPEN | TERMINAL
    assert all(is_terminal(state) for state in WORST_FIRST)


def test_the_worst_target_wins() -> None:
    for first, second in permutations(WORST_FIRST, 2):
        expected = min(first, second, key=WORST_FIRST.index)
        assert worst([first, second]) is expected
    assert worst([State.SKIPPED, State.SUCCEEDED]) is State.SUCCEEDED
    assert worst([State.SUCCEEDED, State.LOST, State.FAILED]) is State.FAILED


@pytest.mark.parametrize(
    ("outcomes", "open_count", "started", "approval", "expected"),
    [
        ([], 1, False, False, State.PENDING),
        ([], 1, False, True, State.PENDING_APPROVAL),
        ([], 2, True, False, State.RUNNING),
        ([State.FAILED], 1, True, False, State.RUNNING),
        ([State.SKIPPED], 1, False, False, State.PENDING),
        ([State.SUCCEEDED, State.SKIPPED], 0, True, False, State.SUCCEEDED),
        ([State.SUCCEEDED, State.EXPIRED], 0, True, False, State.EXPIRED),
        ([State.REJECTED], 0, False, True, State.REJECTED),
    ],
)
def test_a_run_is_what_its_targets_make_of_it(
    outcomes: list[State], open_count: int, started: bool, approval: bool, expected: State
) -> None:
    state = run_state(outcomes, open_count=open_count, started=started, awaiting_approval=approval)

    assert state is expected


def test_a_run_without_targets_is_a_fault_and_not_an_outcome() -> None:
    with pytest.raises(ValueError, match="empty"):
        run_state([], open_count=0, started=False)


CANCEL = Reason.CANCELLED


@pytest.mark.parametrize(
    ("report", "state", "reason"),
    [
        (Report(exit_code=0), State.SUCCEEDED, Reason.NONE),
        (Report(exit_code=3), State.FAILED, Reason.EXIT_CODE),
        (Report(signal=9), State.FAILED, Reason.SIGNAL),
        (Report(start_failed=True), State.FAILED, Reason.START_FAILED),
        (Report(), State.FAILED, Reason.EXIT_CODE),
        (Report(signal=15, timed_out=True), State.TIMED_OUT, Reason.TIMEOUT),
        (Report(exit_code=0, timed_out=True), State.TIMED_OUT, Reason.TIMEOUT),
        (Report(exit_code=0, cancel_reason=CANCEL), State.SUCCEEDED, Reason.NONE),
        (Report(exit_code=1, cancel_reason=CANCEL), State.CANCELLED, Reason.CANCELLED),
        (Report(signal=15, cancel_reason=CANCEL), State.CANCELLED, Reason.CANCELLED),
        (Report(signal=9, cancel_reason=Reason.REPLACED), State.CANCELLED, Reason.REPLACED),
        (Report(start_failed=True, cancel_reason=CANCEL), State.CANCELLED, Reason.CANCELLED),
        (Report(exit_code=0, assertion_failed=True), State.FAILED, Reason.ASSERTION),
        (Report(exit_code=0, schema_failed=True), State.FAILED, Reason.OUTPUT_SCHEMA),
        (Report(exit_code=2, assertion_failed=True), State.FAILED, Reason.EXIT_CODE),
    ],
)
def test_the_outcome_of_an_attempt(report: Report, state: State, reason: Reason) -> None:
    assert decide_outcome(report) == (state, reason)


def test_an_outcome_is_always_terminal_and_reachable_from_pending_and_running() -> None:
    codes: list[int | None] = [None, 0, 1]
    signals: list[int | None] = [None, 9]
    reasons: list[Reason | None] = [None, CANCEL]
    flags = [False, True]
    for exit_code, signal, timed_out, start_failed, cancel in product(
        codes, signals, flags, flags, reasons
    ):
        state, reason = decide_outcome(
            Report(
                exit_code=exit_code,
                signal=signal,
                timed_out=timed_out,
                start_failed=start_failed,
                cancel_reason=cancel,
            )
        )
        assert can_move(State.PENDING, state)
        assert can_move(State.RUNNING, state)
        assert reason not in DERIVED
