from __future__ import annotations

from kronforce_agent.launcher.timers import Timers


def test_timers_run_in_order_when_they_are_due() -> None:
    timers, calls = Timers(), []
    timers.at(2.0, lambda: calls.append("second"))
    timers.at(1.0, lambda: calls.append("first"))
    timers.at(9.0, lambda: calls.append("later"))

    timers.run_due(2.0)

    assert calls == ["first", "second"]
    assert timers.next_deadline() == 9.0


def test_a_cancelled_timer_is_neither_run_nor_waited_for() -> None:
    timers, calls = Timers(), []
    timers.at(1.0, lambda: calls.append("no")).cancel()

    assert timers.next_deadline() is None
    timers.run_due(5.0)
    assert calls == []


def test_what_a_timer_schedules_for_now_waits_for_the_next_turn() -> None:
    timers, calls = Timers(), []

    def again() -> None:
        calls.append("again")
        timers.at(1.0, again)

    timers.at(1.0, again)
    timers.run_due(1.0)

    assert calls == ["again"]
