"""Reading runs, their targets and executions, on both stores."""

from kronforce.core.access import Role, Scope
from kronforce.store import executions, runs
from kronforce.store.paging import PageRequest
from kronforce.store.run_ends import MESSAGE_SHOWN, ends_of
from tests.store.rows import (
    EVERYTHING,
    FIRST,
    NOTHING,
    NOW,
    OPS,
    SECOND,
    all_pages,
    make_agent,
    make_execution,
    make_job,
    make_run,
    make_target,
    new_id,
)


def test_a_run_is_found_with_everything_that_is_kept_of_it(tx):
    made = make_run(tx, make_job(tx, "j"), params=b"p", nominal_at=NOW, client_id="c")

    found = runs.find_run(tx, EVERYTHING, made.id)

    assert found is not None
    assert {name: getattr(found, name) for name in runs.RunRow._fields} == made._asdict()
    assert runs.find_run(tx, EVERYTHING, new_id()) is None


def test_a_run_outside_the_scope_looks_like_one_that_is_not_there(tx):
    hidden = make_run(tx, make_job(tx, "a", group_name="dev"))
    shown = make_run(tx, make_job(tx, "b", group_name="ops"))

    assert set(runs.runs_by_ids(tx, OPS, [hidden.id, shown.id])) == {shown.id}
    listed = runs.list_runs(tx, OPS, page=FIRST)
    assert ([row.id for row in listed.items], listed.total) == ([shown.id], 1)
    assert runs.find_run(tx, NOTHING, shown.id) is None
    assert runs.list_runs(tx, NOTHING, page=FIRST).items == []
    assert runs.list_runs(tx, OPS, group="dev", page=FIRST).items == []


def test_runs_are_listed_newest_first_and_pages_stay_put(tx):
    job = make_job(tx, "j")
    made = [make_run(tx, job).id for _ in range(5)]
    page = runs.list_runs(tx, EVERYTHING, page=PageRequest(size=2))
    make_run(tx, job)

    rest = runs.list_runs(tx, EVERYTHING, page=PageRequest(size=9, after=page.next_after))

    assert [row.id for row in page.items + rest.items] == made[::-1]
    assert (page.total, rest.total) == (5, 6)


def test_runs_are_filtered_by_job_state_group_and_time(tx):
    one, two = make_job(tx, "one"), make_job(tx, "two", group_name="ops")
    old = make_run(tx, one, state=5, created_at=NOW - SECOND)
    new = make_run(tx, one, state=4)
    other = make_run(tx, two, state=4)

    def found(**filters):
        listed = runs.list_runs(tx, EVERYTHING, page=FIRST, **filters)
        assert listed.total == len(listed.items)
        return [row.id for row in listed.items]

    assert found(job_key=one.key) == [new.id, old.id]
    assert found(state=4) == [other.id, new.id]
    assert found(group="ops") == [other.id]
    assert found(since=NOW) == [other.id, new.id]
    assert found(job_key=one.key, state=4, since=NOW) == [new.id]


def test_a_run_is_found_by_the_end_of_its_id_in_scope(tx):
    hidden = make_run(tx, make_job(tx, "a", group_name="dev"))
    made = make_run(tx, make_job(tx, "b", group_name="ops"))
    suffix = made.id.hex()[-5:]

    def found(scope, text):
        return [row.id for row in runs.list_runs(tx, scope, id_suffix=text, page=FIRST).items]

    assert found(EVERYTHING, suffix.upper()) == [made.id]
    assert found(OPS, suffix) == [made.id]
    assert found(OPS, hidden.id.hex()[-5:]) == []


def test_totals_of_runs_are_capped(tx, monkeypatch):
    monkeypatch.setattr("kronforce.store.keyset.COUNT_LIMIT", 2)
    job = make_job(tx, "j")
    for _ in range(4):
        make_execution(tx, make_run(tx, job))

    listed = runs.list_runs(tx, EVERYTHING, page=PageRequest(size=1))
    attempts = executions.list_executions(tx, EVERYTHING, page=PageRequest(size=1))

    assert (listed.total, listed.total_exact) == (2, False)
    assert (attempts.total, attempts.total_exact) == (2, False)


def test_targets_come_in_order_with_the_agents_that_they_are_bound_to(tx):
    run, agent = make_run(tx, make_job(tx, "j"), target_count=3), make_agent(tx, "a1")
    make_target(tx, run, target_index=2, state=8, skip_reason="drained")
    make_target(tx, run, target_index=0, agent_key=agent.key, state=4)
    make_target(tx, run, target_index=1, state=4)

    targets = runs.run_targets(tx, run.key)

    assert [(row.target_index, row.agent_name) for row in targets] == [(0, "a1"), (1, ""), (2, "")]
    assert (targets[0].agent_id, targets[1].agent_id) == (agent.id, None)
    assert targets[2].skip_reason == "drained"
    assert runs.target_counts(tx, [run]) == {run.key: {4: 2, 8: 1}}


def test_a_target_that_an_agent_has_is_told_by_its_execution(tx):
    """Its own row is written when an attempt ends, so that no start costs another write."""
    job = make_job(tx, "j")
    run, agent = make_run(tx, job, state=3, target_count=4), make_agent(tx, "a1")
    for index, state in enumerate((1, 1, 1, 4)):
        make_target(tx, run, target_index=index, state=state, attempts=0)
    held = {"agent_key": agent.key, "attempt_number": 2}
    make_execution(tx, run, target_index=0, state=5, phase=0, attempt_number=1)
    make_execution(tx, run, target_index=0, state=3, phase=5, **held)
    make_execution(tx, run, target_index=1, state=1, phase=4, **held)
    make_execution(tx, run, target_index=2, state=1, phase=1, attempt_number=1)
    make_execution(tx, run, target_index=3, state=4, phase=0, attempt_number=1)
    other = make_run(tx, job, state=3)
    make_target(tx, other)
    make_execution(tx, other, state=3, phase=5)

    targets = runs.run_targets(tx, run.key)

    told = [(row.state, row.agent_name, row.attempts) for row in targets]
    assert told == [(3, "a1", 2), (1, "a1", 2), (1, "", 0), (4, "", 0)]
    assert runs.target_counts(tx, [run, other]) == {run.key: {3: 1, 1: 2, 4: 1}, other.key: {3: 1}}


def test_a_run_that_went_wrong_has_the_words_of_the_execution_that_decided_it(tx):
    job = make_job(tx, "j")
    wrong = make_run(tx, job, state=5, state_reason="exit_code", finished_at=NOW, target_count=2)
    failed = {"state": 5, "phase": 0, "state_reason": "exit_code", "finished_at": NOW}
    make_execution(tx, wrong, exit_code=1, message="exit 1", **failed)
    make_execution(tx, wrong, exit_code=3, message="exit 3" + "!" * 300, **failed)
    make_execution(tx, wrong, target_index=1, state=4, phase=0, finished_at=NOW, message="fine")
    good = make_run(tx, job, state=4, finished_at=NOW)
    make_execution(tx, good, state=4, phase=0, finished_at=NOW, message="fine")

    ends = ends_of(tx, [wrong, good])

    assert list(ends) == [wrong.key]
    assert ends[wrong.key].exit_code == 3
    assert ends[wrong.key].message == "exit 3" + "!" * (MESSAGE_SHOWN - len("exit 3"))
    assert ends_of(tx, [good]) == {}


def test_an_execution_comes_with_what_its_run_and_agent_say(tx):
    agent, job = make_agent(tx, "a1"), make_job(tx, "j", group_name="ops")
    run = make_run(tx, job, trigger=1)
    bound = make_execution(tx, run, agent_key=agent.key, exit_code=0, outputs=b"o")
    waiting = make_execution(tx, run)

    found = executions.find_execution(tx, OPS, bound.id)

    assert found is not None
    assert (found.run_id, found.job_id, found.job_name) == (run.id, job.id, "j")
    assert (found.group_name, found.trigger) == ("ops", 1)
    assert (found.agent_id, found.agent_name) == (agent.id, "a1")
    assert (found.exit_code, found.outputs) == (0, b"o")
    unbound = executions.find_execution(tx, OPS, waiting.id)
    assert unbound is not None
    assert (unbound.agent_id, unbound.agent_name, unbound.exit_code) == (None, "", None)


def test_an_execution_outside_the_scope_looks_like_one_that_is_not_there(tx):
    run = make_run(tx, make_job(tx, "j", group_name="dev"))
    made = make_execution(tx, run)

    for scope in (OPS, NOTHING):
        assert executions.find_execution(tx, scope, made.id) is None
        assert executions.list_executions(tx, scope, page=FIRST).items == []
        assert executions.executions_of_run(tx, scope, run.key) == []
    assert executions.executions_of_run(tx, EVERYTHING, run.key) != []


def test_an_agents_credential_sees_what_is_bound_to_that_agent_only(tx):
    agent, other = make_agent(tx, "a1"), make_agent(tx, "a2")
    run = make_run(tx, make_job(tx, "j"))
    mine = make_execution(tx, run, agent_key=agent.key)
    theirs = make_execution(tx, run, agent_key=other.key)
    make_execution(tx, run)
    scope = Scope(principal_id="agent", role=Role.AGENT, agent_id=agent.id)

    assert executions.find_execution(tx, scope, theirs.id) is None
    listed = executions.list_executions(tx, scope, page=FIRST).items
    assert [row.key for row in listed] == [mine.key]
    assert runs.find_run(tx, scope, run.id) is None


def test_executions_of_runs_come_oldest_first_up_to_a_limit(tx):
    job = make_job(tx, "j")
    one, two = make_run(tx, job), make_run(tx, job)
    first, second = make_execution(tx, one), make_execution(tx, one)
    third = make_execution(tx, two)

    found = executions.executions_of_runs(tx, EVERYTHING, [one.key, two.key])

    assert [row.id for row in found[one.key]] == [first.id, second.id]
    assert [row.id for row in found[two.key]] == [third.id]
    limited = executions.executions_of_run(tx, EVERYTHING, one.key, limit=1)
    assert [row.id for row in limited] == [first.id]


def test_executions_are_filtered_and_listed_newest_first(tx):
    agent = make_agent(tx, "a1")
    load, report = make_job(tx, "Load"), make_job(tx, "report", group_name="ops")
    one, two = make_run(tx, load), make_run(tx, report)
    first = make_execution(tx, one, state=5)
    second = make_execution(tx, one, state=4, agent_key=agent.key)
    third = make_execution(tx, two, state=4)

    def found(**filters):
        fetched = all_pages(
            lambda page: executions.list_executions(tx, EVERYTHING, page=page, **filters), 1
        )
        return [row.key for row in fetched]

    assert found() == [third.key, second.key, first.key]
    assert found(job_key=load.key) == [second.key, first.key]
    assert found(run_key=two.key) == [third.key]
    assert found(state=4) == [third.key, second.key]
    assert found(agent_key=agent.key) == [second.key]
    assert found(group="ops") == [third.key]
    assert found(search="LOA") == [second.key, first.key]
    assert found(search="port", state=5) == []
