"""One run with several targets, driven at random through the pure decisions.

The machine keeps what a store would keep (a row per attempt) and does what the
engine would do with each decision; the invariants are promises N1 and N3 and
the states' rules of the model.
"""

import random
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kronforce.core.delivery import QUARANTINE_AFTER, Delivery, decide_loss
from kronforce.core.lifecycle import (
    TERMINAL,
    Reason,
    Report,
    State,
    can_move,
    can_move_run,
    decide_outcome,
    run_state,
)
from kronforce.core.retry import RetryPolicy, decide_retry


@dataclass
class Attempt:
    number: int
    state: State
    fence: int = 0
    lost_before: int = 0
    cancelling: bool = False
    history: list[State] = field(default_factory=list)


PLACES = st.integers(0, 2)
# What ends everything happens rarely, so that long histories are seen too.
RARELY = st.integers(0, 7)


class RunMachine(RuleBasedStateMachine):
    @initialize(
        width=st.integers(1, 3),
        approval=st.booleans(),
        retry_max=st.integers(0, 3),
        delivery=st.sampled_from(Delivery),
    )
    def trigger(self, width: int, approval: bool, retry_max: int, delivery: Delivery) -> None:
        first = State.PENDING_APPROVAL if approval else State.PENDING
        self.policy = RetryPolicy(retry_max=retry_max, delay_secs=5, backoff=2.0)
        self.delivery = delivery
        self.rng = random.Random(0)
        self.fence = 0
        self.started = False
        self.cancel_asked = False
        self.targets = [[Attempt(number=1, state=first)] for _ in range(width)]
        self.state: State = first

    @rule(approved=st.sampled_from([State.PENDING, State.REJECTED, State.EXPIRED]))
    def decide_approval(self, approved: State) -> None:
        for attempts in self.targets:
            self.move(attempts[-1], approved)
        self.settle()

    @rule(place=PLACES)
    def assign(self, place: int) -> None:
        attempt = self.newest(place)
        if attempt.state is State.PENDING and not self.cancel_asked:
            self.fence += 1
            attempt.fence = self.fence

    @rule(place=PLACES)
    def accept(self, place: int) -> None:
        attempt = self.newest(place)
        if attempt.fence and self.move(attempt, State.RUNNING):
            self.started = True
        self.settle()

    @rule(
        place=PLACES,
        report=st.builds(
            Report,
            exit_code=st.sampled_from([None, 0, 1, 75]),
            signal=st.sampled_from([None, 9, 15]),
            timed_out=st.booleans(),
            start_failed=st.booleans(),
            assertion_failed=st.booleans(),
        ),
    )
    def finish(self, place: int, report: Report) -> None:
        attempt = self.newest(place)
        if not attempt.fence:
            return
        asked = Reason.CANCELLED if attempt.cancelling else None
        state, reason = decide_outcome(
            Report(
                exit_code=report.exit_code,
                signal=report.signal,
                timed_out=report.timed_out,
                start_failed=report.start_failed,
                assertion_failed=report.assertion_failed,
                cancel_reason=asked,
            )
        )
        self.started = True
        if self.move(attempt, state) and not self.cancel_asked:
            self.follow(place, attempt, state, reason, report.exit_code)
        self.settle()

    @rule(place=PLACES)
    def lose(self, place: int) -> None:
        self.assign(place)
        attempt = self.newest(place)
        if not attempt.fence:
            return
        lost = attempt.lost_before + 1
        loss = decide_loss(self.delivery, lost_attempts=lost, cancelling=attempt.cancelling)
        if self.move(attempt, loss.state) and loss.redeliver:
            self.add(place, Attempt(attempt.number + 1, State.PENDING, lost_before=lost))
        self.settle()

    @rule(place=PLACES, outcome=st.sampled_from([State.EXPIRED, State.SKIPPED]), chance=RARELY)
    def give_up_waiting(self, place: int, outcome: State, chance: int) -> None:
        attempt = self.newest(place)
        if not attempt.fence and not chance:
            self.move(attempt, outcome)
        self.settle()

    @rule(chance=RARELY)
    def cancel(self, chance: int) -> None:
        if chance:
            return
        self.cancel_asked = True
        for attempts in self.targets:
            attempts[-1].cancelling = True
            if not attempts[-1].fence:
                self.move(attempts[-1], State.CANCELLED)
        self.settle()

    def newest(self, place: int) -> Attempt:
        return self.targets[place % len(self.targets)][-1]

    def add(self, place: int, attempt: Attempt) -> None:
        self.targets[place % len(self.targets)].append(attempt)

    def follow(
        self, place: int, attempt: Attempt, state: State, reason: Reason, code: int | None
    ) -> None:
        again = decide_retry(
            self.policy,
            attempt_number=attempt.number,
            lost_attempts=attempt.lost_before,
            state=state,
            reason=reason,
            exit_code=code,
            rng=self.rng,
        )
        if again is not None:
            number, lost = again.attempt_number, attempt.lost_before
            self.add(place, Attempt(number, State.PENDING, lost_before=lost))

    def move(self, attempt: Attempt, after: State) -> bool:
        """Compare and set, as the store does it."""
        if not can_move(attempt.state, after):
            return False
        attempt.history.append(attempt.state)
        attempt.state = after
        return True

    def settle(self) -> None:
        """What a run is after each change; it, too, may only go forward."""
        newest = [attempts[-1].state for attempts in self.targets]
        after = run_state(
            [state for state in newest if state in TERMINAL],
            open_count=sum(state not in TERMINAL for state in newest),
            started=self.started,
            awaiting_approval=State.PENDING_APPROVAL in newest,
        )
        assert after is self.state or can_move_run(self.state, after)
        self.state = after

    @invariant()
    def one_attempt_is_open_per_target_and_it_is_the_newest(self) -> None:
        for attempts in self.targets:
            assert all(attempt.state in TERMINAL for attempt in attempts[:-1])

    @invariant()
    def no_attempt_leaves_a_terminal_state(self) -> None:
        for attempts in self.targets:
            for attempt in attempts:
                assert not TERMINAL.intersection(attempt.history)

    @invariant()
    def a_run_has_ended_exactly_when_all_its_targets_have(self) -> None:
        ended = all(attempts[-1].state in TERMINAL for attempts in self.targets)
        assert (self.state in TERMINAL) == ended

    @invariant()
    def fences_and_attempt_numbers_grow(self) -> None:
        for attempts in self.targets:
            assert [a.number for a in attempts] == list(range(1, len(attempts) + 1))
            fences = [a.fence for a in attempts if a.fence]
            assert fences == sorted(set(fences))

    @invariant()
    def attempts_are_bounded_by_retries_and_lost_ones(self) -> None:
        for attempts in self.targets:
            lost = sum(a.state is State.LOST for a in attempts)
            assert len(attempts) - lost <= self.policy.retry_max + 1
            assert lost <= (QUARANTINE_AFTER if self.delivery is Delivery.AT_LEAST_ONCE else 1)

    @invariant()
    def only_a_failure_timeout_or_loss_is_followed_by_another_attempt(self) -> None:
        for attempts in self.targets:
            for attempt in attempts[:-1]:
                assert attempt.state in {State.FAILED, State.TIMED_OUT, State.LOST}


TestRunLifecycle = RunMachine.TestCase
TestRunLifecycle.settings = settings(max_examples=300, stateful_step_count=30)
