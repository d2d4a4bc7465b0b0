"""The checker is checked: a sound history passes, and each way to break one is told by its rule."""

from dataclasses import replace

import pytest

from tests.system.checker.counting import count
from tests.system.checker.history import (
    Acknowledged,
    Attempt,
    Audit,
    Effect,
    Fired,
    Happened,
    History,
    Killed,
    Piece,
    Policy,
    Run,
    Seen,
    stream_of,
)
from tests.system.checker.rules import judge

SIZE = 1000
FIRST = Attempt(
    id="e1", state="failed", fence=3, created_at=10, started_at=12, finished_at=20, reason="exit"
)
SECOND = Attempt(
    id="e2", number=2, state="succeeded", fence=5, created_at=20, started_at=21, finished_at=30
)
TICK = Attempt(id="e3", state="succeeded", fence=6, created_at=40, started_at=41, finished_at=42)
LIVES = {
    "e1": ("job.triggered", "execution.started", "execution.completed"),
    "e2": ("execution.started", "execution.completed"),
    "e3": ("job.triggered", "execution.started", "execution.completed"),
}


def sound() -> History:
    """A run that failed and was retried, and a scheduled one."""
    events = tuple(
        Happened(cursor=f"{execution}-{kind}", kind=kind, execution_id=execution)
        for execution, kinds in LIVES.items()
        for kind in kinds
    )
    return History(
        policies={"work": Policy(retry_max=1, output_bytes=SIZE), "tick": Policy(max_concurrent=1)},
        acknowledged=(Acknowledged(job="work", request_id="q", run_id="r1"),) * 2,
        runs=(
            Run(id="r1", job="work", state="succeeded", finished_at=30, attempts=(FIRST, SECOND)),
            Run(
                id="r2",
                job="tick",
                state="succeeded",
                nominal_at=40,
                finished_at=42,
                attempts=(TICK,),
            ),
        ),
        events=events,
        followed=events[1:],
        seen=(
            Seen(run_id="r1", revision=1, state="pending"),
            Seen(run_id="r1", revision=3, state="running"),
            Seen(run_id="r1", revision=5, state="succeeded"),
        ),
        effects=(
            Effect(execution_id="e1", fence=3, what="start"),
            Effect(execution_id="e2", fence=5, what="start"),
            Effect(execution_id="e2", fence=5, what="end"),
            Effect(execution_id="e3", fence=6, what="start"),
            Effect(execution_id="e3", fence=6, what="end"),
        ),
        outputs={
            "e1": (Piece(offset=0, data=stream_of("e1", SIZE)[:10]),),
            "e2": (
                Piece(offset=0, data=stream_of("e2", SIZE)[:600]),
                Piece(offset=600, data=stream_of("e2", SIZE)[600:]),
            ),
        },
        fires=(Fired(job="tick", nominal_at=40, run_id="r2"),),
        evidence={"e1": 8},
        audit=Audit(triggered=("r1",)),
    )


def with_run(history: History, index: int, **changes: object) -> History:
    runs = list(history.runs)
    runs[index] = replace(runs[index], **changes)  # type: ignore[arg-type]
    return replace(history, runs=tuple(runs))


def with_attempts(history: History, *attempts: Attempt) -> History:
    return with_run(history, 0, attempts=attempts)


def broken() -> dict[str, tuple[str, History]]:
    """Name → (the rule that must tell, the history)."""
    good = sound()
    ack = good.acknowledged[0]
    other = Effect(execution_id="e2", fence=5, what="start")
    completed = Happened(cursor="again", kind="execution.completed", execution_id="e1")
    return {
        "the run of an answered trigger is gone": (
            "a",
            replace(good, acknowledged=(replace(ack, run_id="r9"),)),
        ),
        "an audit entry was changed": (
            "h",
            replace(good, audit=replace(good.audit, faults=("entry 3 of chain 1 was changed",))),
        ),
        "a trigger is not in the audit log": ("h", replace(good, audit=Audit())),
        "a trigger is in the audit log twice": (
            "h",
            replace(good, audit=Audit(triggered=("r1", "r1"))),
        ),
        "the audit log has a schedule's run": (
            "h",
            replace(good, audit=Audit(triggered=("r1", "r2"))),
        ),
        "the audit log has a run that was never made": (
            "h",
            replace(good, audit=Audit(triggered=("r1", "r9"))),
        ),
        "one request made two runs": (
            "a",
            replace(good, acknowledged=(ack, replace(ack, run_id="r2"))),
        ),
        "a run that nobody asked for": ("a", replace(good, acknowledged=())),
        "a run that never ends": ("a", with_run(good, 0, state="running", finished_at=None)),
        "an execution that never ends": (
            "a",
            with_attempts(good, FIRST, replace(SECOND, state="running")),
        ),
        "a run without executions": ("a", with_attempts(good)),
        "a start after the end": (
            "b",
            replace(good, events=(good.events[2], good.events[1], *good.events[3:])),
        ),
        "two starts": ("b", replace(good, events=(*good.events[:2], *good.events[1:]))),
        "a start without its event": ("b", replace(good, events=good.events[:1] + good.events[2:])),
        "a watcher saw a revision fall": (
            "b",
            replace(good, seen=(replace(good.seen[0], revision=9), *good.seen[1:])),
        ),
        "a watcher saw a terminal state change": (
            "b",
            replace(good, seen=(replace(good.seen[0], state="lost"), *good.seen[1:])),
        ),
        "a watcher was shown another end": (
            "b",
            replace(good, seen=(*good.seen[:2], replace(good.seen[2], state="failed"))),
        ),
        "a follower of events missed one": (
            "b",
            replace(good, followed=good.events[1:3] + good.events[4:]),
        ),
        "a follower of events got one twice": (
            "b",
            replace(good, followed=(*good.events[1:], good.events[-1])),
        ),
        "a follower got events out of order": (
            "b",
            replace(good, followed=(good.events[0], good.events[2], good.events[1])),
        ),
        "a fence that did not grow": ("c", with_attempts(good, FIRST, replace(SECOND, fence=2))),
        "one fence given twice": ("c", with_attempts(good, FIRST, replace(SECOND, fence=6))),
        "two attempts open at a time": (
            "c",
            with_attempts(good, FIRST, replace(SECOND, created_at=15)),
        ),
        "a hole in the attempts": ("c", with_attempts(good, FIRST, replace(SECOND, number=3))),
        "a stale writer": (
            "c",
            replace(good, effects=(*good.effects, replace(other, fence=4, what="end"))),
        ),
        "an end that was taken twice": ("d", replace(good, events=(*good.events, completed))),
        "an end without its event": (
            "d",
            replace(good, events=good.events[:2] + good.events[3:]),
        ),
        "more evidence than is kept": ("d", replace(good, evidence={"e1": 9})),
        "a task that started twice": ("e", replace(good, effects=(*good.effects, other))),
        "a success that did nothing": (
            "e",
            replace(good, effects=good.effects[:1] + good.effects[3:]),
        ),
        "a success that did not come to its end": (
            "e",
            replace(good, effects=good.effects[:2] + good.effects[3:]),
        ),
        "work of an execution that there is not": (
            "e",
            replace(good, effects=(*good.effects, replace(other, execution_id="e9"))),
        ),
        "work under another fence": (
            "e",
            replace(good, effects=(*good.effects, replace(other, fence=7, what="end"))),
        ),
        "a skipped execution that did something": (
            "e",
            with_attempts(good, FIRST, replace(SECOND, state="skipped")),
        ),
        "at most once, and again after a loss": (
            "e",
            with_attempts(good, replace(FIRST, state="lost"), SECOND),
        ),
        "again after a success": (
            "e",
            with_attempts(good, replace(FIRST, state="succeeded"), SECOND),
        ),
        "retried too often": (
            "e",
            replace(good, policies={**good.policies, "work": Policy(output_bytes=SIZE)}),
        ),
        "two rows for an instant": ("f", replace(good, fires=good.fires * 2)),
        "a run for an instant without a row": (
            "f",
            replace(good, fires=(Fired(job="tick", nominal_at=50, reason="downtime"),)),
        ),
        "two runs for an instant": (
            "f",
            replace(good, runs=(*good.runs, replace(good.runs[1], id="r3"))),
        ),
        "a row with neither run nor reason": (
            "f",
            replace(good, fires=(*good.fires, Fired(job="tick", nominal_at=50))),
        ),
        "a range that covers a fired instant": (
            "f",
            replace(
                good,
                fires=(*good.fires, Fired(job="tick", nominal_at=30, until=45, reason="paused")),
            ),
        ),
        "a silent gap": (
            "g",
            replace(good, outputs={"e2": (Piece(offset=10, data=stream_of("e2", SIZE)[10:]),)}),
        ),
        "bytes that are missing at the end": (
            "g",
            replace(good, outputs={"e2": (Piece(offset=0, data=stream_of("e2", SIZE)[:-1]),)}),
        ),
        "another execution's bytes": (
            "g",
            replace(good, outputs={"e1": (Piece(offset=0, data=stream_of("e2", SIZE)[:10]),)}),
        ),
        "a gap in a success": (
            "g",
            replace(
                good,
                outputs={
                    "e2": (
                        Piece(offset=0, gap=10),
                        Piece(offset=10, data=stream_of("e2", SIZE)[10:]),
                    )
                },
            ),
        ),
        "a loss, and no launcher was killed": (
            "k",
            replace(with_attempts(good, FIRST, replace(SECOND, state="lost")), killed=()),
        ),
        "a loss long before a launcher was killed": (
            "k",
            replace(
                with_attempts(good, FIRST, replace(SECOND, state="lost")),
                killed=(Killed(role="launcher", since=10**9),),
            ),
        ),
        "a loss inside an agent, and only a launcher was killed": (
            "k",
            replace(
                with_attempts(good, FIRST, replace(SECOND, state="lost")),
                killed=(Killed(role="launcher"),),
                policies={**good.policies, "work": Policy(retry_max=1, in_agent=True)},
            ),
        ),
        "an agent that came back without what it had accepted": (
            "k",
            replace(
                with_attempts(good, FIRST, replace(SECOND, state="lost", reason="agent_restarted")),
                killed=(Killed(role="launcher"),),
            ),
        ),
        "an end with the agent, which nobody stopped": (
            "k",
            replace(
                with_attempts(
                    good, FIRST, replace(SECOND, state="cancelled", reason="agent_stopped")
                ),
                killed=(),
            ),
        ),
        "an agent that was offline for no reason": (
            "k",
            replace(
                good, killed=(), events=(*good.events, Happened(cursor="o", kind="agent.offline"))
            ),
        ),
        "a process that was left": ("n", replace(good, left=("12 sleep 60",))),
        "more at a time than the limit": (
            "l",
            replace(
                good,
                policies={"work": Policy(retry_max=1, max_concurrent=1)},
                runs=(
                    *good.runs,
                    replace(good.runs[0], id="r4", attempts=(replace(FIRST, id="e4"),)),
                ),
                effects=(
                    Effect(execution_id="e2", fence=5, what="start"),
                    Effect(execution_id="e4", fence=3, what="start"),
                    Effect(execution_id="e4", fence=3, what="end"),
                    Effect(execution_id="e2", fence=5, what="end"),
                ),
            ),
        ),
    }


def test_a_sound_history_passes() -> None:
    assert judge(sound()) == []


@pytest.mark.parametrize("name", broken())
def test_a_broken_history_is_told_by_its_rule(name: str) -> None:
    rule, history = broken()[name]
    assert rule in {finding[1] for finding in judge(history)}


def test_every_rule_has_a_broken_history() -> None:
    assert {rule for rule, _ in broken().values()} == set("abcdefghkln")


def test_a_delivery_of_at_least_once_may_go_on_after_a_loss() -> None:
    history = with_attempts(sound(), replace(FIRST, state="lost", reason="launcher_died"), SECOND)
    policy = Policy(delivery="at_least_once", output_bytes=SIZE)
    assert judge(replace(history, policies={**history.policies, "work": policy})) == []


def test_a_success_may_have_an_explicit_gap_where_a_launcher_was_killed() -> None:
    pieces = (Piece(offset=0, gap=10), Piece(offset=10, data=stream_of("e2", SIZE)[10:]))
    history = replace(sound(), launcher_killed=True, outputs={"e2": pieces})
    assert judge(history) == []
    assert judge(replace(history, outputs={"e2": pieces[:1]})) != []


def test_a_loss_has_its_cause_where_its_launcher_was_killed() -> None:
    lost = with_attempts(sound(), FIRST, replace(SECOND, state="lost"))
    killed = (Killed(role="launcher", since=25, until=26),)
    findings = judge(replace(lost, killed=killed))
    assert [finding for finding in findings if finding.startswith("(k)")] == []


def test_a_launcher_that_dies_before_a_success_is_told_of_may_take_output_with_it() -> None:
    pieces = (Piece(offset=0, gap=10), Piece(offset=10, data=stream_of("e2", SIZE)[10:]))
    killed = (Killed(role="launcher", since=10**8, until=10**8),)
    history = replace(sound(), killed=killed, outputs={"e2": pieces})
    late = tuple(replace(event, at=10**9) for event in history.events)
    assert judge(replace(history, events=late, followed=late)) == []
    assert judge(history) != []


def test_a_capped_output_may_have_a_gap_and_must_say_so() -> None:
    pieces = (Piece(offset=0, gap=10), Piece(offset=10, data=stream_of("e2", SIZE)[10:]))
    history = replace(sound(), outputs={"e2": pieces})
    policies = {**history.policies, "work": Policy(retry_max=1, output_bytes=SIZE, capped=True)}
    assert judge(replace(history, policies=policies)) == []
    assert judge(replace(history, policies=policies, outputs={"e2": pieces[1:]})) != []


def test_what_should_be_zero_is_zero_in_a_sound_history_and_counted_in_a_broken_one() -> None:
    good = replace(sound(), killed=())
    again = replace(good.effects[2], what="start")
    broken = replace(
        with_attempts(good, FIRST, replace(SECOND, state="lost")),
        effects=(*good.effects, again),
        acknowledged=(*good.acknowledged, replace(good.acknowledged[0], run_id="r9")),
        outputs={"e2": (Piece(offset=5, data=b"x"),)},
        left=("12 sleep 60",),
    )
    assert count(good).broken == 0
    assert count(good) + count(good) == replace(count(good), acknowledged=2, runs=4, attempts=6)
    counts = count(broken)
    assert (counts.unfinished, counts.lost_without_cause, counts.duplicated) == (1, 1, 2)
    assert (counts.orphans, counts.silent_gaps) == (1, 1)


def test_a_fourth_loss_is_told_of() -> None:
    lost = [
        Attempt(
            id=f"e{n}", number=n, state="lost", fence=n, created_at=n, started_at=n, finished_at=n
        )
        for n in range(1, 5)
    ]
    history = History(
        policies={"work": Policy(delivery="at_least_once", notes_effects=False)},
        runs=(Run(id="r", job="work", state="lost", finished_at=4, attempts=tuple(lost)),),
    )
    assert any("lost 4 times" in finding for finding in judge(history))
