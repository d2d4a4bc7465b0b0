"""After a restore no number is given out that the forgotten history may have used."""

import sqlite3

import pytest
import sqlalchemy as sa

from kronforce.core.access import Role, Scope
from kronforce.engine.keys import COUNTER
from kronforce.store import commit_order, events, new_history, tables
from kronforce.store.database import reading, writing
from kronforce.store.events import NewEvent, insert_events
from kronforce.store.hot.apply import FENCE, take_counter
from kronforce.store.sessions import FENCE_JUMP
from tests.store.rows import make_agent, make_job, make_run
from tests.store.settling import settle

ADMIN = Scope(principal_id="x", role=Role.ADMIN)
NOW = 1_795_000_000 * 1_000_000
SECOND = 1_000_000
EXECUTION = bytes(16)


def note(database, *kinds: str) -> None:
    with writing(database.main) as tx:
        insert_events(
            tx, [NewEvent(kind=kind, severity=1, at=NOW, message="m", actor="a") for kind in kinds]
        )


def begin(database, now: int = NOW) -> int:
    with writing(database.main) as tx:
        return new_history.begin(tx, now=now, message="restored")


def after(database, cursor):
    settle(database)
    with reading(database.main) as tx:
        found, following = events.events_after(tx, ADMIN, cursor)
    return [event.kind for event in found], following


def test_fences_go_on_far_above_every_one_that_is_known(database):
    with writing(database.main) as tx:
        take_counter(tx, FENCE, 7)
        tx.conn.execute(sa.insert(tables.evidence).values(
            execution_id=EXECUTION, fence=900, at=NOW, report=b"r"))  # fmt: skip

    fence = begin(database)

    assert fence >= 900 + FENCE_JUMP
    with writing(database.main) as tx:
        assert take_counter(tx, FENCE, 1) == fence + 1


def test_the_same_backup_restored_again_a_second_later_is_above_what_the_first_gave_out(database):
    first = new_history._jump(NOW)
    second = new_history._jump(NOW + SECOND)

    assert second - first > 20 * 10_000  # assignments that a controller makes in it, amply


def test_jumps_stay_where_numbers_are_exact_everywhere():
    a_hundred_years = NOW + 100 * 366 * 24 * 3_600 * SECOND

    assert new_history._jump(a_hundred_years) < 2**53


def test_row_keys_and_sessions_do_not_come_again(database):
    with writing(database.main) as tx:
        first = take_counter(tx, COUNTER, 10)
        tx.conn.execute(sa.insert(tables.agents).values(
            id=EXECUTION, name="a", registered_by="k", agent_type=1, built_in=False, tags="[]",
            labels="{}", task_types="[]", facts=b"", slots=1, draining=False, boot_id="b",
            session_epoch=3, controller="main", clock_skew_ms=0, revision=1, created_at=NOW,
        ))  # fmt: skip

    begin(database)

    with writing(database.main) as tx:
        assert take_counter(tx, COUNTER, 1) > first + 2**31
        assert tx.conn.scalar(sa.select(tables.agents.c.session_epoch)) > 2**19


def test_a_follower_from_before_goes_on_with_what_comes_now(database):
    note(database, "job.created", "job.updated")
    kinds, _ = after(database, commit_order.START)
    assert kinds == ["job.created", "job.updated"]
    # What it saw of the history that is forgotten: a few events further on.
    with reading(database.main) as tx:
        place, seq = events.latest_cursor(tx)
    ahead = (place + (0 if database.sqlite else 500), (seq if database.sqlite else 0) + 500)

    begin(database)
    note(database, "job.deleted")

    kinds, following = after(database, ahead)
    assert kinds == ["store.restored", "job.deleted"]
    assert after(database, following)[0] == []
    note(database, "key.created")
    assert after(database, following)[0] == ["key.created"]


def test_events_keep_their_order_through_two_restores(database):
    note(database, "job.created")
    begin(database)
    note(database, "job.updated")
    begin(database, NOW + SECOND)
    note(database, "job.deleted")

    assert after(database, commit_order.START)[0] == [
        "job.created", "store.restored", "job.updated", "store.restored", "job.deleted",
    ]  # fmt: skip


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_output_of_runs_that_were_forgotten_is_deleted(database, store_url):
    with writing(database.output) as tx:
        for key in (1, 2):
            tx.conn.execute(sa.insert(tables.output_chunks).values(
                execution_key=key, stream=1, start=0, length=1, sequence=1, at=NOW, data=b"x"
            ))  # fmt: skip
            tx.conn.execute(sa.insert(tables.output_progress).values(
                execution_key=key, sequence=1, stdout_bytes=1, stderr_bytes=0, stored_bytes=1,
                dropped_bytes=0,
            ))  # fmt: skip
    known = sqlite3.connect(store_url)
    columns = [row[1] for row in known.execute("PRAGMA table_info(executions)")]
    values = {"key": 1, "id": EXECUTION}
    known.execute(
        f"INSERT INTO executions ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
        [values.get(name, 0) for name in columns],
    )
    known.commit()
    known.close()

    with writing(database.output) as tx:
        assert new_history.forget_output(tx, store_url) == 2

    with reading(database.output) as tx:
        assert tx.conn.scalars(sa.select(tables.output_chunks.c.execution_key)).all() == [1]


def test_etags_of_then_fit_nothing_and_a_watcher_takes_open_runs_for_news(database):
    with writing(database.main) as tx:
        job = make_job(tx, "job")
        agent = make_agent(tx, "agent")
        still, over = make_run(tx, job).key, make_run(tx, job).key
        ended = sa.update(tables.runs).where(tables.runs.c.key == over)
        tx.conn.execute(ended.values(finished_at=NOW))
        before = revisions(tx)

    begin(database)

    with reading(database.main) as tx:
        after_ = revisions(tx)
    assert after_["jobs", job.key] > before["jobs", job.key] + 2**32
    assert after_["agents", agent.key] > before["agents", agent.key] + 2**32
    assert after_["runs", still] > before["runs", still] + 2**32
    assert after_["runs", over] == before["runs", over]


def revisions(tx) -> dict[tuple[str, int], int]:
    return {
        (table.name, row.key): row.revision
        for table in (tables.jobs, tables.agents, tables.runs)
        for row in tx.conn.execute(sa.select(table.c.key, table.c.revision))
    }
