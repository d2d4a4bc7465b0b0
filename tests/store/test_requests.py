"""Request ids, on both stores, also with two controllers at once."""

import pytest
import sqlalchemy as sa

from kronforce.errors import RequestIdReused
from kronforce.store import tables
from kronforce.store.database import writing
from kronforce.store.requests import claim_request
from tests.store.rows import NOW, at_once, new_id


def claim(tx, request_id="r", *, principal_key=1, content=b"h", resource_id=b"made"):
    return claim_request(
        tx,
        principal_key=principal_key,
        request_id=request_id,
        hash=content,
        resource_id=resource_id,
        now=NOW,
    )


def test_the_same_request_again_gives_what_the_first_made(tx):
    assert claim(tx, resource_id=b"first") is None
    assert claim(tx, resource_id=b"second") == b"first"


def test_request_ids_are_each_callers_own(tx):
    assert claim(tx) is None
    assert claim(tx, principal_key=2) is None
    assert claim(tx, "other") is None


def test_a_request_id_with_other_content_is_refused_and_stores_nothing(tx):
    claim(tx, content=b"one")

    with pytest.raises(RequestIdReused):
        claim(tx, content=b"two")

    assert claim(tx, content=b"one") == b"made"
    assert tx.conn.scalar(sa.select(sa.func.count()).select_from(tables.requests)) == 1


def test_of_the_same_request_at_two_controllers_one_makes_something(database, other):
    found = []

    def call(tx):
        mine = new_id()
        found.append((mine, claim(tx, resource_id=mine)))

    at_once(call, [database, other] * 4, expected=RequestIdReused)

    [maker] = [mine for mine, existing in found if existing is None]
    assert {existing for _, existing in found if existing is not None} == {maker}
    assert len(found) == 8


def test_a_claim_that_is_rolled_back_leaves_the_id_to_others(database, other):
    def claim_and_fail(tx):
        claim(tx)
        raise ZeroDivisionError

    assert at_once(claim_and_fail, [database], expected=ZeroDivisionError)

    with writing(other.main) as tx:
        assert claim(tx, content=b"another") is None
