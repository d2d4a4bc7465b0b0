"""Events as pages and by cursor, on both stores."""

import pytest

from kronforce.core.access import Role, Scope
from kronforce.errors import OutOfRange
from kronforce.store import events, retention
from kronforce.store.database import reading, writing
from kronforce.store.events import EventFilter, NewEvent
from kronforce.store.paging import PageRequest
from tests.store.only_on import ON_POSTGRESQL
from tests.store.rows import (
    DAY,
    EVERYTHING,
    FIRST,
    NOTHING,
    NOW,
    OPS,
    all_pages,
    make_agent,
    make_execution,
    make_job,
    make_run,
    new_id,
)
from tests.store.settling import settle

VIEWER = Scope(principal_id="v", role=Role.VIEWER)
SUCCESS, WARNING, ERROR = 2, 3, 4


def make_event(kind="job.created", **values):
    given = {"kind": kind, "severity": 1, "at": NOW, "message": kind, "actor": "ci"}
    return NewEvent(**given | values)


def write(store, *rows):
    with writing(store.main) as tx:
        events.insert_events(tx, list(rows))


def follow(store, cursor, filters=events.EVERYTHING, scope=EVERYTHING, limit=100):
    settle(store)
    return peek(store, cursor, filters, scope, limit)


def peek(store, cursor, filters=events.EVERYTHING, scope=EVERYTHING, limit=100):
    with reading(store.main) as tx:
        rows, following = events.events_after(tx, scope, cursor, filters, limit)
    return [row.message for row in rows], following


def latest(store):
    settle(store)
    with reading(store.main) as tx:
        return events.latest_cursor(tx)


def test_an_event_is_kept_whole(tx):
    new = make_event(
        severity=SUCCESS, job_id=new_id(), job_name="j", group_name="ops", run_id=new_id(),
        execution_id=new_id(), agent_id=new_id(), payload=b"p",
    )  # fmt: skip
    events.insert_events(tx, [new])

    [row] = events.list_events(tx, EVERYTHING, page=FIRST).items

    assert all(getattr(row, name) == getattr(new, name) for name in NewEvent.__slots__)


def test_events_are_listed_newest_first_page_by_page(tx):
    events.insert_events(tx, [make_event(message=str(number)) for number in range(5)])

    rows = all_pages(lambda page: events.list_events(tx, EVERYTHING, page=page), 2)

    assert [row.message for row in rows] == ["4", "3", "2", "1", "0"]
    assert events.list_events(tx, EVERYTHING, page=PageRequest(size=1)).total == 5


def test_events_are_filtered_by_kind_severity_job_and_time(tx):
    job = new_id()
    events.insert_events(
        tx,
        [
            make_event("job.created", job_id=job),
            make_event("job.updated", severity=WARNING),
            make_event("jobs", at=NOW - DAY),
            make_event("key.created"),
        ],
    )

    def kinds(**filters):
        page = events.list_events(tx, EVERYTHING, filters=EventFilter(**filters), page=FIRST)
        return [row.kind for row in page.items]

    assert kinds(kind="job.created") == ["job.created"]
    assert kinds(kind="job.*") == ["job.updated", "job.created"]
    assert kinds(kind="jo*") == ["jobs", "job.updated", "job.created"]
    assert kinds(kind="*") == ["key.created", "jobs", "job.updated", "job.created"]
    assert kinds(severity=WARNING) == ["job.updated"]
    assert kinds(job_id=job) == ["job.created"]
    assert kinds(since=NOW) == ["key.created", "job.updated", "job.created"]


def test_events_of_other_groups_and_of_keys_are_for_those_who_may_see_them(tx):
    free, kept = make_agent(tx, "free").id, make_agent(tx, "kept", allowed_groups=["dev"]).id
    events.insert_events(
        tx,
        [
            make_event("job.created", group_name="ops"),
            make_event("job.created", group_name="dev"),
            make_event("agent.online", agent_id=free),
            make_event("agent.offline", agent_id=kept),
            make_event("key.created"),
        ],
    )

    def seen(scope):
        page = events.list_events(tx, scope, page=FIRST)
        return [(row.kind, row.group_name) for row in page.items]

    assert len(seen(EVERYTHING)) == 5
    everything_but_keys = [
        ("agent.offline", ""),
        ("agent.online", ""),
        ("job.created", "dev"),
        ("job.created", "ops"),
    ]
    assert seen(VIEWER) == everything_but_keys
    assert seen(OPS) == [("agent.online", ""), ("job.created", "ops")]
    assert seen(NOTHING) == [("agent.online", "")]
    assert seen(Scope(principal_id="a", role=Role.AGENT, agent_id=new_id())) == []


def test_hot_events_get_their_text_when_they_are_read(tx):
    run = make_run(tx, make_job(tx, "hello"))
    failed = make_execution(tx, run, state=5, message="exit 3").id
    late = make_execution(tx, run, state=6).id
    lost = make_execution(tx, run, state=11).id
    said = {"message": "", "job_name": "hello"}
    done = "execution.completed"
    events.insert_events(
        tx,
        [
            make_event("job.triggered", **said),
            make_event("execution.started", **said),
            make_event(done, severity=SUCCESS, **said),
            make_event(done, severity=ERROR, execution_id=failed, **said),
            make_event(done, severity=ERROR, execution_id=late, **said),
            make_event(done, severity=ERROR, execution_id=lost, **said),
            make_event(done, severity=WARNING, execution_id=new_id(), **said),
        ],
    )

    page = events.list_events(tx, EVERYTHING, page=FIRST)

    assert [row.message for row in reversed(page.items)] == [
        "hello was triggered by ci",
        "hello started",
        "hello succeeded",
        "hello failed: exit 3",
        "hello timed out",
        "hello was lost",
        "hello ended without success",
    ]


def test_a_follower_sees_each_event_once_and_in_order(database):
    cursor, seen = latest(database), []
    write(database, *(make_event(message=str(number)) for number in range(5)))
    while True:
        messages, cursor = follow(database, cursor, limit=2)
        if not messages:
            break
        seen += messages
    write(database, make_event(message="5"))
    messages, cursor = follow(database, cursor)

    assert seen + messages == ["0", "1", "2", "3", "4", "5"]
    assert follow(database, cursor)[0] == []


def test_a_follower_who_begins_now_does_not_get_the_past(database):
    write(database, make_event(message="past"))
    cursor = latest(database)
    write(database, make_event(message="new"))

    assert follow(database, cursor)[0] == ["new"]


def test_each_row_carries_the_cursor_that_goes_on_after_it(database):
    write(database, *(make_event(message=str(number)) for number in range(3)))
    settle(database)
    with reading(database.main) as tx:
        rows, _ = events.events_after(tx, EVERYTHING, (0, 0))
        [_, listed, _] = events.list_events(tx, EVERYTHING, page=FIRST).items

    assert follow(database, rows[1].cursor)[0] == ["2"]
    assert listed == rows[1]


def test_the_cursor_moves_on_over_events_that_are_filtered_out(database):
    cursor = latest(database)
    write(database, make_event("key.created"), make_event("key.revoked"))
    only_jobs = EventFilter(kind="job.*")

    messages, moved = follow(database, cursor, only_jobs)
    write(database, make_event("job.created"))

    assert messages == []
    assert moved > cursor
    assert follow(database, moved, only_jobs)[0] == ["job.created"]
    assert follow(database, cursor, scope=NOTHING)[0] == []


def test_a_follower_looks_at_a_bounded_number_of_events_at_a_time(database, monkeypatch):
    monkeypatch.setattr(events, "SCAN_LIMIT", 3)
    cursor = latest(database)
    write(database, *(make_event("key.created") for _ in range(5)), make_event("job.created"))
    only_jobs = EventFilter(kind="job.*")

    messages, moved = follow(database, cursor, only_jobs)

    assert messages == []
    assert follow(database, moved, only_jobs)[0] == ["job.created"]


@ON_POSTGRESQL
def test_events_that_commit_out_of_order_are_not_missed(database, other):
    cursor = latest(database)
    with writing(other.main) as older:
        events.insert_events(older, [make_event(message="older")])
        write(database, make_event(message="newer"))

        hidden, cursor = peek(database, cursor)

    assert hidden == []
    assert follow(database, cursor)[0] == ["older", "newer"]


@ON_POSTGRESQL
def test_a_transaction_that_began_before_and_writes_after_is_not_missed(database, other):
    cursor, seen = latest(database), []
    with writing(other.main) as older:
        older.conn.exec_driver_sql("SELECT pg_current_xact_id()")
        write(database, make_event(message="first"))
        messages, cursor = peek(database, cursor)
        seen += messages
        events.insert_events(older, [make_event(message="late")])
        messages, cursor = peek(database, cursor)
        seen += messages
    messages, cursor = follow(database, cursor)

    assert sorted(seen + messages) == ["first", "late"]


def test_a_follower_whom_retention_has_overtaken_is_told_so(database):
    start = latest(database)
    write(database, make_event(message="old", at=NOW - DAY), make_event(message="new"))
    with writing(database.main) as tx:
        assert retention.delete_events(tx, NOW) == 1

    with pytest.raises(OutOfRange):
        follow(database, start)
    write(database, make_event(message="newest"))
    assert follow(database, latest(database))[0] == []
    with reading(database.main) as tx:
        [_, row] = events.list_events(tx, EVERYTHING, page=FIRST).items
    assert follow(database, row.cursor)[0] == ["newest"]
