from kronforce.core.delivery import QUARANTINE_AFTER, Delivery, decide_loss
from kronforce.core.lifecycle import Reason, State


def test_at_most_once_never_runs_a_lost_attempt_again() -> None:
    loss = decide_loss(Delivery.AT_MOST_ONCE, lost_attempts=1, reason=Reason.LAUNCHER_DIED)

    assert (loss.state, loss.reason, loss.redeliver) == (State.LOST, Reason.LAUNCHER_DIED, False)


def test_at_least_once_runs_again_until_three_are_lost() -> None:
    decided = [decide_loss(Delivery.AT_LEAST_ONCE, lost_attempts=n) for n in (1, 2, 3, 4)]

    assert QUARANTINE_AFTER == 3
    assert [loss.redeliver for loss in decided] == [True, True, False, False]
    assert [loss.reason for loss in decided[1:3]] == [Reason.AGENT_LOST, Reason.QUARANTINED]
    assert {loss.state for loss in decided} == {State.LOST}


def test_what_was_being_cancelled_is_not_run_again() -> None:
    loss = decide_loss(Delivery.AT_LEAST_ONCE, lost_attempts=1, cancelling=True)

    assert (loss.reason, loss.redeliver) == (Reason.AGENT_LOST, False)
