"""A change that is only tried leaves nothing behind, whether it would work or not."""

import pytest

from kronforce.errors import AlreadyExists
from kronforce.store import jobs
from kronforce.store.audit import NewEntry, note
from kronforce.store.trial import tried
from tests.store.rows import EVERYTHING, NOW, make_job


def make_and_note(tx, name):
    note(tx, NewEntry(at=NOW, actor=None, operation="job.created", resource_type="job"))
    return make_job(tx, name)


def test_what_was_tried_is_given_and_not_kept(tx):
    noted = list(tx.noted)

    row = tried(tx, make_and_note, "etl")

    assert row.name == "etl"
    assert jobs.find_job(tx, EVERYTHING, "etl") is None
    assert tx.noted == noted


def test_a_trial_that_fails_says_why_and_the_transaction_goes_on(tx):
    kept = make_job(tx, "etl")

    with pytest.raises(AlreadyExists):
        tried(tx, make_and_note, "etl")

    assert jobs.find_job(tx, EVERYTHING, "etl") == kept
    assert make_job(tx, "next").name == "next"
