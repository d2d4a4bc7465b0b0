"""The oldest of everything that waits, for whoever sees everything and whoever sees a part."""

import random

import pytest

from kronforce.store import first_waiting, status
from kronforce.store.tables import Admission, Phase
from tests.store.rows import EVERYTHING, NOW, OPS, SECOND, make_execution, make_job, make_run


def limited(tx, job, **values):
    """A run that waits for its job's limit; its execution."""
    run = make_run(tx, job, admission=Admission.WAITING, **values)
    times = {name: values[name] for name in ("created_at", "priority") if name in values}
    return make_execution(tx, run, phase=Phase.CONCURRENCY, **times)


def queued(tx, job, **values):
    """A run that waits for an agent; its execution."""
    run = make_run(tx, job, created_at=values.get("created_at", NOW))
    return make_execution(tx, run, phase=Phase.READY, **values)


def test_with_nothing_waiting_there_is_no_oldest(tx):
    make_execution(tx, make_run(tx, make_job(tx, "a")), phase=Phase.RUNNING)

    assert status.status(tx, EVERYTHING).oldest_waiting is None


@pytest.mark.parametrize(("one", "other"), [(queued, limited), (limited, queued)])
def test_the_oldest_may_wait_for_an_agent_or_for_a_limit(tx, one, other):
    job = make_job(tx, "a")
    first = one(tx, job, created_at=NOW)
    other(tx, job, created_at=NOW + SECOND)

    oldest = status.status(tx, EVERYTHING).oldest_waiting

    assert (oldest.execution_id, oldest.since, oldest.job_name) == (first.id, NOW, "a")
    assert oldest.state_reason == ("concurrency" if one is limited else "")


def test_the_oldest_is_found_behind_any_limit_and_priority(tx):
    rng = random.Random(11)
    jobs = [make_job(tx, f"job-{n}") for n in range(4)]
    for second in range(120):
        limited(
            tx, rng.choice(jobs), slot_key=rng.choice(["", "a", "b"]),
            priority=rng.randint(-2, 2), created_at=NOW + (second + 1) * SECOND,
        )  # fmt: skip
    first = limited(tx, jobs[2], slot_key="c", priority=-9, created_at=NOW)
    for _ in range(5):
        limited(tx, jobs[2], slot_key="c", priority=9, created_at=NOW + 500 * SECOND)

    assert status.status(tx, EVERYTHING).oldest_waiting.execution_id == first.id


def test_looking_for_the_oldest_ends_however_many_limits_there_are(tx):
    job = make_job(tx, "a")
    for number in range(first_waiting.SLOTS + 5):
        limited(tx, job, slot_key=f"{number:05}")
    for number in range(first_waiting.PRIORITIES + 5):
        limited(tx, job, slot_key="00000", priority=-number)

    found = status.status(tx, EVERYTHING)

    assert found.oldest_waiting.since == NOW
    assert found.pending == first_waiting.SLOTS + first_waiting.PRIORITIES + 10


def test_who_sees_some_groups_sees_their_oldest(tx):
    queued(tx, make_job(tx, "theirs"), created_at=NOW - SECOND)
    ours = make_job(tx, "ours", group_name="ops")
    limited(tx, ours, created_at=NOW + SECOND)
    first = queued(tx, ours, created_at=NOW)

    found = status.status(tx, OPS)

    assert (found.oldest_waiting.execution_id, found.pending) == (first.id, 2)
