"""Jobs, their versions and timing, and groups, on both stores."""

import pytest

from kronforce.core.ids import to_text
from kronforce.errors import Aborted, AlreadyExists, JobNotFound
from kronforce.store import groups, jobs, paging
from kronforce.store.database import reading
from kronforce.store.paging import PageRequest
from tests.store.rows import (
    EVERYTHING,
    FIRST,
    NOTHING,
    NOW,
    OPS,
    SECOND,
    all_pages,
    at_once,
    change_job,
    make_job,
    make_run,
    new_id,
)


def test_a_job_is_found_by_id_and_by_exact_name(tx):
    job = make_job(tx, "Nightly", tags=("db", "eu"), spec=b"s", trusted=True)

    assert jobs.find_job(tx, EVERYTHING, to_text(job.id)) == job
    assert jobs.find_job(tx, EVERYTHING, "Nightly") == job
    assert jobs.find_job(tx, EVERYTHING, "nightly") is None
    assert (job.tags, job.spec, job.trusted, job.version) == (("db", "eu"), b"s", True, 1)


def test_many_jobs_are_found_at_once_by_whatever_they_were_named_by(tx):
    one, two = make_job(tx, "one"), make_job(tx, "two")
    by_id = to_text(two.id)

    found = jobs.find_jobs(tx, EVERYTHING, ["one", by_id, "two", "gone", to_text(new_id())])

    assert found == {"one": one, by_id: two, "two": two}


def test_a_job_outside_the_scope_looks_like_one_that_is_not_there(tx):
    job = make_job(tx, "a", group_name="dev")
    mine = make_job(tx, "b", group_name="ops")

    assert jobs.find_jobs(tx, OPS, ["a", to_text(job.id), "b"]) == {"b": mine}
    assert jobs.find_job(tx, NOTHING, "b") is None
    assert [row.name for row in jobs.list_jobs(tx, OPS, page=FIRST).items] == ["b"]
    assert jobs.list_jobs(tx, OPS, page=FIRST).total == 1


def test_a_taken_name_is_refused_until_its_job_is_deleted(tx):
    job = make_job(tx, "taken")
    other = make_job(tx, "other")

    with pytest.raises(AlreadyExists):
        make_job(tx, "taken")
    with pytest.raises(AlreadyExists):
        change_job(tx, other, name="taken")

    jobs.mark_deleted(tx, job.key, NOW)
    assert change_job(tx, other, name="taken").name == "taken"


def test_a_refused_name_leaves_the_transaction_usable(tx):
    make_job(tx, "taken")
    with pytest.raises(AlreadyExists):
        make_job(tx, "taken")

    assert make_job(tx, "free").name == "free"


def test_jobs_are_listed_by_name_page_by_page(tx):
    for name in ("c", "B", "a", "ä", "b"):
        make_job(tx, name)

    rows = all_pages(lambda page: jobs.list_jobs(tx, EVERYTHING, page=page), 2)

    assert [row.name for row in rows] == ["B", "a", "b", "c", "ä"]


def test_pages_are_stable_while_jobs_come_and_go(tx):
    rows = {name: make_job(tx, name) for name in ("b", "d", "f")}
    page = jobs.list_jobs(tx, EVERYTHING, page=PageRequest(size=2))
    make_job(tx, "a")
    make_job(tx, "e")
    jobs.mark_deleted(tx, rows["d"].key, NOW)

    rest = jobs.list_jobs(tx, EVERYTHING, page=PageRequest(size=2, after=page.next_after))

    assert [row.name for row in rest.items] == ["e", "f"]
    assert rest.next_after is None


def test_a_page_by_number_leaves_out_the_rows_before_it_and_counts_them(tx):
    for name in "abcde":
        make_job(tx, name)

    def page(size, skip):
        return jobs.list_jobs(tx, EVERYTHING, page=PageRequest(size=size, skip=skip))

    middle, last, beyond = page(2, 2), page(2, 4), page(2, 6)
    assert ["".join(row.name for row in each.items) for each in (middle, last, beyond)] == [
        "cd", "e", "",
    ]  # fmt: skip
    assert [each.total for each in (middle, last, beyond)] == [5, 5, 5]
    assert (middle.next_after, last.next_after, beyond.next_after) == (("d",), None, None)


def test_jobs_are_filtered_by_group_status_search_tag_and_label(tx):
    make_job(tx, "Load_EU", group_name="etl", tags=("nightly",), status=2, labels={"team": "a"})
    make_job(tx, "loadXus", group_name="etl", tags=("Nightly", "us"), labels={"team": "A", "x": ""})
    make_job(tx, "report", tags=("night",))

    def names(**filters):
        return [row.name for row in jobs.list_jobs(tx, EVERYTHING, page=FIRST, **filters).items]

    assert names(group="etl") == ["Load_EU", "loadXus"]
    assert names(status=2) == ["Load_EU"]
    assert names(search="LOAD") == ["Load_EU", "loadXus"]
    assert names(search="load_") == ["Load_EU"]
    assert names(search="%") == []
    assert names(tag="nightly") == ["Load_EU"]
    assert names(tag="us") == ["loadXus"]
    assert names(tag="nigh") == []
    assert names(group="etl", tag="night") == []
    assert names(label="team") == ["Load_EU", "loadXus"]
    assert names(label="team=a") == ["Load_EU"]
    assert names(label="x=") == ["loadXus"]
    assert names(label="tea") == names(label="team=") == names(label="=a") == []


def test_a_job_is_found_by_the_labels_that_it_has_now(tx):
    job = make_job(tx, "a", labels={"team": "a"})
    change_job(tx, job, labels={"team": "b"})

    for label, found in (("team=a", []), ("team=b", ["a"])):
        assert [
            row.name for row in jobs.list_jobs(tx, EVERYTHING, page=FIRST, label=label).items
        ] == found


def test_totals_are_exact_up_to_the_limit_and_say_so_beyond(tx, monkeypatch):
    monkeypatch.setattr("kronforce.store.keyset.COUNT_LIMIT", 3)
    for name in "abc":
        make_job(tx, name)

    exact = jobs.list_jobs(tx, EVERYTHING, page=PageRequest(size=2))
    make_job(tx, "d")
    capped = jobs.list_jobs(tx, EVERYTHING, page=PageRequest(size=2))
    last = jobs.list_jobs(tx, EVERYTHING, page=PageRequest(size=9, after=("c",)))

    assert (exact.total, exact.total_exact) == (3, True)
    assert (capped.total, capped.total_exact) == (3, False)
    assert (last.total, last.total_exact, len(last.items)) == (3, False, 1)
    assert paging.COUNT_LIMIT == 10_000


def test_each_change_makes_a_version_that_runs_can_still_read(tx):
    job = make_job(tx, "j", spec=b"one", trusted=True)

    changed = change_job(tx, job, spec=b"two", trusted=False, tags=("x",), now=NOW + 5)

    assert (changed.version, changed.revision, changed.updated_at) == (2, 2, NOW + 5)
    assert changed.tags == ("x",)
    assert jobs.job_spec(tx, job.key, 1) == (b"one", True)
    assert jobs.job_spec(tx, job.key, 2) == (b"two", False)


def test_a_change_from_a_stale_copy_is_refused(tx):
    job = make_job(tx, "j")
    change_job(tx, job, expected_revision=1)

    with pytest.raises(Aborted):
        change_job(tx, job, expected_revision=1)
    with pytest.raises(Aborted):
        jobs.mark_deleted(tx, job.key, NOW, expected_revision=1)
    assert change_job(tx, job, expected_revision=2).version == 3


def test_changing_a_deleted_job_says_that_it_is_gone(tx):
    job = make_job(tx, "j", next_fire_at=NOW)
    gone = jobs.mark_deleted(tx, job.key, NOW + 1)

    assert (gone.deleted_at, gone.next_fire_at) == (NOW + 1, None)
    with pytest.raises(JobNotFound):
        change_job(tx, job)
    with pytest.raises(JobNotFound):
        jobs.mark_deleted(tx, job.key, NOW)
    assert jobs.find_job(tx, EVERYTHING, to_text(job.id)) is None
    assert jobs.jobs_by_keys(tx, [job.key]) == [gone]


def test_timing_changes_the_etag_only_when_a_caller_asked_for_it(tx):
    job = make_job(tx, "j")
    timing = {"status": 2, "paused_until": NOW + 9, "next_fire_at": NOW, "next_nominal_at": NOW}

    moved = jobs.set_timing(tx, key=job.key, **timing, now=NOW + 1, bump=False)
    paused = jobs.set_timing(tx, key=job.key, **timing, now=NOW + 2, bump=True)

    assert (moved.revision, moved.updated_at, moved.next_fire_at) == (1, NOW, NOW)
    assert (paused.revision, paused.updated_at, paused.version) == (2, NOW + 2, 1)
    with pytest.raises(Aborted):
        jobs.set_timing(tx, key=job.key, **timing, now=NOW, bump=True, expected_revision=1)


def test_due_jobs_come_earliest_first_and_never_deleted_ones(tx):
    late = make_job(tx, "late", next_fire_at=NOW + 2 * SECOND)
    early = make_job(tx, "early", next_fire_at=NOW)
    make_job(tx, "later", next_fire_at=NOW + 3 * SECOND)
    make_job(tx, "never")
    jobs.mark_deleted(tx, make_job(tx, "gone", next_fire_at=NOW).key, NOW)

    assert jobs.due_jobs(tx, NOW + 2 * SECOND, 10) == [early, late]
    assert jobs.due_jobs(tx, NOW + 2 * SECOND, 1) == [early]


def test_the_newest_run_of_each_job_is_found_at_once(tx):
    ran, fresh, twice = make_job(tx, "ran"), make_job(tx, "fresh"), make_job(tx, "twice")
    make_run(tx, twice, state=5)
    make_run(tx, ran, state=4, finished_at=NOW)
    newest = make_run(tx, twice, state=3, started_at=NOW)

    found = jobs.last_runs(tx, [ran.key, fresh.key, twice.key])

    assert set(found) == {ran.key, twice.key}
    assert (found[twice.key].id, found[twice.key].state) == (newest.id, 3)
    assert jobs.last_runs(tx, []) == {}


def test_a_job_makes_its_group(tx):
    make_job(tx, "j", group_name="new")
    groups.ensure_group(tx, "new", NOW)
    job = make_job(tx, "k", group_name="new")
    change_job(tx, job, group_name="newer")

    found = {row.name: row.job_count for row in groups.list_groups(tx, EVERYTHING)}

    assert found == {"Default": 0, "new": 1, "newer": 1}


def test_groups_are_made_once_and_seen_in_scope_only(tx):
    made = groups.insert_group(tx, "ops", NOW)

    assert made.job_count == 0
    with pytest.raises(AlreadyExists):
        groups.insert_group(tx, "ops", NOW)
    assert [row.name for row in groups.list_groups(tx, OPS)] == ["ops"]
    assert groups.list_groups(tx, NOTHING) == []


def test_two_jobs_of_one_name_at_the_same_time_make_one(database, other):
    refused = at_once(lambda tx: make_job(tx, "once"), [database, other], expected=AlreadyExists)

    assert len(refused) == 1
    with reading(database.main) as tx:
        assert jobs.list_jobs(tx, EVERYTHING, page=FIRST).total == 1
