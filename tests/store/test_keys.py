"""API keys and join tokens, on both stores."""

import pytest

from kronforce.core.ids import to_text
from kronforce.errors import AlreadyExists, InUse
from kronforce.store import join_tokens, keys
from kronforce.store.database import reading, writing
from kronforce.store.paging import PageRequest
from tests.store.rows import NOW, SECOND, all_pages, at_once, new_id

OPERATOR, ADMIN = 2, 3


def make_key(tx, name, *, role=OPERATOR, **values):
    given = {
        "id": new_id(),
        "name": name,
        "role": role,
        "prefix": "kf_12345678",
        "hash": name.encode() + new_id(),
        "allowed_groups": (),
        "allowed_networks": (),
        "created_at": NOW,
        "expires_at": None,
    }
    return keys.insert_key(tx, **given | values)


def test_a_key_is_found_by_its_hash_with_its_limits(tx):
    made = make_key(
        tx, "ci", hash=b"h", allowed_groups=("b", "a"), allowed_networks=("10.0.0.0/8",)
    )

    assert keys.get_key_by_hash(tx, b"h") == made
    assert keys.get_key_by_hash(tx, b"other") is None
    assert (made.allowed_groups, made.allowed_networks) == (("a", "b"), ("10.0.0.0/8",))


def test_a_key_is_for_every_way_in_unless_it_is_made_for_one(tx):
    make_key(tx, "ci", hash=b"h")
    make_key(tx, "assistant", hash=b"a", surface=3)

    found = [keys.get_key_by_hash(tx, each) for each in (b"h", b"a")]
    assert [row.surface for row in found] == [0, 3]


def test_a_name_is_free_again_once_its_key_is_revoked(tx):
    make_key(tx, "ci")
    with pytest.raises(AlreadyExists):
        make_key(tx, "ci")

    keys.revoke_key(tx, "ci", NOW)

    assert make_key(tx, "ci").revoked_at is None


def test_a_revoked_key_authenticates_nobody_and_raises_the_revision(tx):
    made = make_key(tx, "ci", hash=b"h")
    before = keys.key_revision(tx)

    revoked = keys.revoke_key(tx, to_text(made.id), NOW + 1)

    assert revoked is not None
    assert revoked.revoked_at == NOW + 1
    assert keys.get_key_by_hash(tx, b"h") is None
    assert keys.key_revision(tx) > before


def test_revoking_twice_keeps_the_first_instant_and_unknown_keys_are_none(tx):
    made = make_key(tx, "ci")
    keys.revoke_key(tx, "ci", NOW + 1)

    again = keys.revoke_key(tx, to_text(made.id), NOW + 2)

    assert again is not None
    assert again.revoked_at == NOW + 1
    assert keys.revoke_key(tx, "ci", NOW) is None


def test_the_last_admin_key_is_kept(tx):
    make_key(tx, "root", role=ADMIN)
    make_key(tx, "second", role=ADMIN)
    make_key(tx, "past", role=ADMIN, expires_at=NOW - 1)
    keys.revoke_key(tx, "second", NOW)

    with pytest.raises(InUse, match="last admin"):
        keys.revoke_key(tx, "root", NOW)
    assert keys.count_admins(tx, NOW) == 1
    expired = keys.revoke_key(tx, "past", NOW)
    assert expired is not None
    assert expired.revoked_at == NOW


def test_of_two_admins_that_revoke_each_other_one_stays(database, other):
    with writing(database.main) as tx:
        make_key(tx, "a", role=ADMIN)
        make_key(tx, "b", role=ADMIN)
    names = iter("ab")

    refused = at_once(
        lambda tx: keys.revoke_key(tx, next(names), NOW), [database, other], expected=InUse
    )

    assert len(refused) == 1
    with reading(database.main) as tx:
        assert keys.count_admins(tx, NOW) == 1


def test_keys_are_listed_newest_first_revoked_ones_last(tx):
    for name in "abcde":
        make_key(tx, name)
    keys.revoke_key(tx, "e", NOW)
    keys.revoke_key(tx, "b", NOW)

    rows = all_pages(lambda page: keys.list_keys(tx, page), 2)

    assert [row.name for row in rows] == ["d", "c", "a", "e", "b"]
    assert keys.list_keys(tx, PageRequest(size=2)).total == 5


def test_the_last_use_is_noted_for_many_at_once(tx):
    one, two = make_key(tx, "one"), make_key(tx, "two")

    keys.touch_keys(tx, [(one.key, NOW + 1), (two.key, NOW + 2)])

    found = {row.name: row.last_used_at for row in keys.list_keys(tx, PageRequest(size=9)).items}
    assert found == {"one": NOW + 1, "two": NOW + 2}


def make_token(tx, uses):
    return join_tokens.insert_join_token(
        tx,
        id=new_id(),
        hash=b"h",
        uses=uses,
        tags=("linux",),
        labels={"zone": "a"},
        created_by="root",
        created_at=NOW,
        expires_at=NOW + SECOND,
    )


def test_a_join_token_is_used_as_often_as_it_says(tx):
    token = make_token(tx, 2)

    assert join_tokens.find_join_token(tx, token.id) == token
    assert join_tokens.use_token(tx, token.id, NOW).uses_left == 1
    assert join_tokens.use_token(tx, token.id, NOW).uses_left == 0
    assert join_tokens.use_token(tx, token.id, NOW) is None


def test_an_expired_or_unknown_join_token_is_of_no_use(tx):
    token = make_token(tx, 2)

    assert join_tokens.use_token(tx, token.id, NOW + SECOND) is None
    assert join_tokens.use_token(tx, new_id(), NOW) is None
    assert join_tokens.find_join_token(tx, new_id()) is None


def test_one_use_is_taken_by_one_of_two_at_once(database, other):
    with writing(database.main) as tx:
        token = make_token(tx, 1)
    taken = []

    at_once(
        lambda tx: taken.append(join_tokens.use_token(tx, token.id, NOW)),
        [database, other],
        expected=AlreadyExists,
    )

    assert sum(row is not None for row in taken) == 1
