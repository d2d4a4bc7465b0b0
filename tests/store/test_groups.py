"""Groups in the store: what a rename carries along, what deleting leaves."""

import pytest
import sqlalchemy as sa

from kronforce.core.access import Role, Scope
from kronforce.errors import AlreadyExists, InUse
from kronforce.store import agents, groups, jobs, join_tokens, keys, tables, variables
from kronforce.store.events import NewEvent, insert_events, list_events
from kronforce.store.runs import find_run
from tests.store.rows import EVERYTHING, FIRST, NOW, make_agent, make_job, make_run, new_id
from tests.store.test_keys import make_key

WEB = Scope(principal_id="web", role=Role.OPERATOR, groups=frozenset({"web"}))


def group(tx, name):
    row = groups.find_group(tx, EVERYTHING, name)
    assert row is not None
    return row


def tell(tx, group_name):
    insert_events(
        tx,
        [
            NewEvent(
                kind="job.updated",
                severity=1,
                at=NOW,
                message="m",
                actor="me",
                group_name=group_name,
            )
        ],
    )


def make_variable(tx, name, **values):
    given = {
        "id": new_id(),
        "name": name,
        "secret": False,
        "value": b"v",
        "secret_key": None,
        "description": "",
        "allowed_groups": (),
        "expires_at": None,
        "expiry_told": 0,
        "revision": variables.raise_revision(tx),
        "actor": "me",
        "now": NOW,
    }
    return variables.insert_variable(tx, **given | values)


def move_history(tx, old, new):
    while groups.move_runs(tx, old, new):
        pass
    for start in range(groups.first_event(tx), groups.last_event(tx) + 1, groups.EVENTS_AT_ONCE):
        groups.move_events(tx, old, new, start)
    groups.end_rename(tx, old)


def test_a_rename_takes_jobs_and_every_list_of_groups_along(tx):
    job = make_job(tx, "site", group_name="web")
    other = make_job(tx, "other", group_name="web 2")
    make_key(tx, "ci", hash=b"h", allowed_groups=("web", "web 2"))
    make_agent(tx, "a1", allowed_groups=("web",))
    token = join_tokens.insert_join_token(
        tx, id=new_id(), hash=b"t", uses=1, tags=(), labels={}, created_by="me",
        created_at=NOW, expires_at=NOW + 1, allowed_groups=("web",),
    )  # fmt: skip
    variable = make_variable(tx, "PASSWORD", allowed_groups=("ops", "web"))
    before = keys.key_revision(tx)

    groups.rename_group(tx, group(tx, "web"), "front", NOW)

    rows = {row.key: row for row in jobs.jobs_by_keys(tx, [job.key, other.key])}
    moved, stays = rows[job.key], rows[other.key]
    assert (moved.group_name, moved.revision, stays.group_name) == ("front", 2, "web 2")
    assert keys.get_key_by_hash(tx, b"h").allowed_groups == ("front", "web 2")
    assert agents.find_agent(tx, "a1").allowed_groups == ("front",)
    assert join_tokens.find_join_token(tx, token.id).allowed_groups == ("front",)
    [changed] = variables.changes_since(tx, variable.revision).rows
    assert changed.allowed_groups == ("front", "ops")
    assert changed.version == variable.version + 1
    assert keys.key_revision(tx) > before
    assert groups.find_group(tx, EVERYTHING, "web") is None


def test_history_follows_a_rename_in_batches(tx, monkeypatch):
    monkeypatch.setattr(groups, "RUNS_AT_ONCE", 2)
    monkeypatch.setattr(groups, "EVENTS_AT_ONCE", 3)
    web, ops = make_job(tx, "site", group_name="web"), make_job(tx, "db", group_name="ops")
    runs = [make_run(tx, web) for _ in range(5)]
    theirs = make_run(tx, ops)
    for name in ("web", "ops", "web", "web", "ops", "web"):
        tell(tx, name)

    groups.rename_group(tx, group(tx, "web"), "front", NOW)
    assert groups.pending_renames(tx) == {"web": "front"}
    move_history(tx, "web", "front")

    assert {find_run(tx, EVERYTHING, run.id).group_name for run in runs} == {"front"}
    assert find_run(tx, EVERYTHING, theirs.id).group_name == "ops"
    told = [row.group_name for row in list_events(tx, EVERYTHING, page=FIRST).items]
    assert sorted(told) == ["front"] * 4 + ["ops"] * 2
    assert groups.pending_renames(tx) == {}


def test_an_old_name_is_taken_until_its_history_has_moved(tx):
    make_job(tx, "site", group_name="web")
    groups.rename_group(tx, group(tx, "web"), "front", NOW)

    with pytest.raises(AlreadyExists, match="renamed just now"):
        groups.insert_group(tx, "web", NOW)
    tx.conn.execute(sa.delete(tables.groups).where(tables.groups.c.name == "web"))
    with pytest.raises(AlreadyExists, match="renamed just now"):
        groups.ensure_group(tx, "web", NOW)
    tx.conn.execute(sa.delete(tables.groups).where(tables.groups.c.name == "web"))
    with pytest.raises(InUse, match="still follow"):
        groups.rename_group(tx, group(tx, "front"), "next", NOW)
    with pytest.raises(InUse, match="still follow"):
        groups.delete_group(tx, group(tx, "front"), NOW)

    move_history(tx, "web", "front")
    assert groups.insert_group(tx, "web", NOW).job_count == 0


def test_a_name_that_exists_is_not_taken_by_a_rename(tx):
    groups.insert_group(tx, "web", NOW)
    groups.insert_group(tx, "ops", NOW)
    with pytest.raises(AlreadyExists):
        groups.rename_group(tx, group(tx, "web"), "ops", NOW)


def test_deleting_moves_jobs_to_default_and_leaves_history(tx):
    job = make_job(tx, "site", group_name="web")
    gone = make_job(tx, "gone", group_name="web")
    jobs.mark_deleted(tx, gone.key, NOW)
    run = make_run(tx, job)

    assert groups.delete_group(tx, group(tx, "web"), NOW) == 1

    assert jobs.find_job(tx, EVERYTHING, "site").group_name == "Default"
    assert jobs.find_job(tx, WEB, "site") is None
    assert find_run(tx, WEB, run.id).group_name == "web"


def test_a_group_outside_the_scope_is_not_there(tx):
    groups.insert_group(tx, "ops", NOW)
    groups.insert_group(tx, "web", NOW)
    assert groups.find_group(tx, WEB, "ops") is None
    assert [row.name for row in groups.list_groups(tx, WEB)] == ["web"]
