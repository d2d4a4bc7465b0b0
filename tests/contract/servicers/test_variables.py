"""VariableService: what every caller sees of variables and secrets, and who may change them."""

from datetime import timedelta

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from kronforce.clock import to_us
from kronforce.errors import Code
from kronforce.security.secret import MASK
from kronforce.store import variables as stored
from kronforce.v1 import variable_service_pb2 as pb
from kronforce.v1.event_service_pb2 import ListEventsRequest
from kronforce.v1.variable_pb2 import Variable

DAY = timedelta(days=1)


async def create(rig, name="CITY", value="Rome", key="admin", **fields):
    wanted = Variable(name=name, value=value, **fields)
    request = pb.CreateVariableRequest(variable=wanted)
    return await rig.call("VariableService.CreateVariable", request, key=key)


async def refused_create(rig, name="CITY", value="Rome", key="admin", **fields):
    wanted = Variable(name=name, value=value, **fields)
    request = pb.CreateVariableRequest(variable=wanted)
    return await rig.refused("VariableService.CreateVariable", request, key=key)


def change(ref="CITY", paths=(), **fields):
    return pb.UpdateVariableRequest(
        variable_id=ref, variable=Variable(**fields), update_mask=FieldMask(paths=paths)
    )


async def update(rig, ref="CITY", *, paths=(), key="admin", **fields):
    request = change(ref, paths, **fields)
    return await rig.call("VariableService.UpdateVariable", request, key=key)


async def get(rig, ref="CITY", key="admin"):
    request = pb.GetVariableRequest(variable_id=ref)
    return await rig.call("VariableService.GetVariable", request, key=key)


async def names(rig, key="admin", **filters):
    request = pb.ListVariablesRequest(**filters)
    reply = await rig.call("VariableService.ListVariables", request, key=key)
    return [each.name for each in reply.variables]


async def kinds(rig, key="admin"):
    reply = await rig.call(
        "EventService.ListEvents", ListEventsRequest(kind_pattern="variable.*"), key=key
    )
    return [event.kind for event in reply.events]


async def test_a_variable_is_made_read_changed_and_deleted(rig):
    made = await create(rig, description="where")
    assert await get(rig) == made
    assert await get(rig, made.id) == made
    assert (made.value, made.secret, made.updated_by, made.etag) == ("Rome", False, "admin", "1")

    changed = await update(rig, value="Oslo", paths=["value"], key="operator")
    assert (changed.value, changed.description, changed.etag) == ("Oslo", "where", "2")
    assert changed.updated_by == "operator"

    await rig.call("VariableService.DeleteVariable", pb.DeleteVariableRequest(variable_id="CITY"))
    assert await names(rig) == []
    assert await kinds(rig) == ["variable.deleted", "variable.updated", "variable.created"]


async def test_a_secret_reads_back_as_its_mask_and_the_mask_sent_back_keeps_it(rig):
    made = await create(rig, "TOKEN", "hunter22", secret=True)
    assert made.value == MASK
    before = await rig.store.read(lambda tx: stored.changes_since(tx, 0).rows[0])
    assert b"hunter22" not in before.value

    changed = await update(
        rig, "TOKEN", value=MASK, secret=True, description="ci", paths=["value", "description"]
    )
    assert (changed.value, changed.description) == (MASK, "ci")
    after = await rig.store.read(lambda tx: stored.changes_since(tx, 0).rows[0])
    assert after.value == before.value
    assert (await get(rig, "TOKEN")).value == MASK


async def test_an_empty_secret_reads_back_as_its_mask(rig):
    assert (await create(rig, "TOKEN", "", secret=True)).value == MASK


async def test_a_secret_is_never_made_one_that_is_shown(rig):
    await create(rig, "TOKEN", "hunter22", secret=True)

    failed = await rig.refused(
        "VariableService.UpdateVariable", change("TOKEN", ["secret"], secret=False)
    )
    assert failed.code is Code.INVALID_ARGUMENT
    assert "delete it" in failed.message


async def test_a_shown_variable_becomes_a_secret_with_the_value_it_has(rig):
    await create(rig)
    assert (await update(rig, secret=True, paths=["secret"])).value == MASK
    row = await rig.store.read(lambda tx: stored.changes_since(tx, 0).rows[0])
    assert b"Rome" not in row.value


async def test_a_name_is_taken_once_and_fixed(rig):
    await create(rig)
    taken = await refused_create(rig)
    assert (taken.code, taken.reason) == (Code.ALREADY_EXISTS, "NAME_TAKEN")

    renamed = await rig.refused(
        "VariableService.UpdateVariable", change(paths=["name"], name="TOWN")
    )
    assert "fixed" in renamed.message


async def test_a_stale_etag_changes_nothing(rig):
    await create(rig)
    await update(rig, value="Oslo", paths=["value"], etag="1")

    failed = await rig.refused(
        "VariableService.UpdateVariable", change(paths=["value"], value="Bern", etag="1")
    )
    assert (failed.code, failed.reason) == (Code.ABORTED, "ETAG_MISMATCH")
    assert (await get(rig)).value == "Oslo"


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"name": ""}, "name"),
        ({"name": "a-b"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"value": "x" * 65_537}, "value"),
        ({"description": "x" * 1_001}, "description"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 3_651}, "expires_in_days"),
        ({"allowed_groups": ["no/slash"]}, "allowed_groups[0]"),
        ({"value": MASK, "secret": True}, "value"),
    ],
)
async def test_what_is_wrong_is_named_by_field(rig, fields, where):
    failed = await refused_create(rig, **fields)
    assert failed.code is Code.INVALID_ARGUMENT
    assert where in [violation.field for violation in failed.violations]


async def test_an_expiry_is_days_from_now_or_an_instant_ahead(rig):
    made = await create(rig, expires_in_days=30)
    assert made.expires_at.ToMicroseconds() == to_us(rig.clock.now() + 30 * DAY)
    assert not made.HasField("expires_in_days")
    assert not made.expired

    rig.clock.advance(30 * 86_400)
    assert (await get(rig)).expired
    # Changing something else leaves the expiry where it is, also behind.
    assert (await update(rig, description="old", paths=["description"])).expired
    assert not (await update(rig, paths=["expires_at"])).HasField("expires_at")

    past = Variable(name="B")
    past.expires_at.FromDatetime(rig.clock.now() - DAY)
    failed = await rig.refused(
        "VariableService.CreateVariable", pb.CreateVariableRequest(variable=past)
    )
    assert "ahead" in failed.message


async def test_whoever_saves_a_short_secret_is_told_that_it_is_not_masked(rig):
    made = await create(rig, "PIN", "123", secret=True)
    assert "not masked" in made.warnings[0]
    assert list((await create(rig, "LONG", "long enough", secret=True)).warnings) == []
    assert "stays as it stands" in (await create(rig, "T", "{{X}}")).warnings[0]
    assert list((await get(rig, "PIN")).warnings) == []


async def test_a_limited_key_sees_what_its_groups_use_and_changes_what_is_theirs_alone(rig):
    await create(rig, "ALL")
    await create(rig, "ADMINS", secret=True)
    await create(rig, "WEB", allowed_groups=["web"])
    await create(rig, "BOTH", allowed_groups=["web", "ops"])
    await create(rig, "OPS", allowed_groups=["ops"])

    assert await names(rig, key="web") == ["ALL", "BOTH", "WEB"]
    await update(rig, "WEB", value="x", paths=["value"], key="web")
    for ref in ("OPS", "ADMINS"):
        hidden = await rig.refused(
            "VariableService.UpdateVariable", change(ref, ["value"], value="x"), key="web"
        )
        assert (hidden.code, hidden.reason) == (Code.NOT_FOUND, "VARIABLE_NOT_FOUND")
    for ref in ("ALL", "BOTH"):
        theirs = await rig.refused(
            "VariableService.UpdateVariable", change(ref, ["value"], value="x"), key="web"
        )
        assert theirs.reason == "NOT_ALLOWED"
    widened = await rig.refused(
        "VariableService.UpdateVariable",
        change("WEB", ["allowed_groups"], allowed_groups=["web", "ops"]),
        key="web",
    )
    assert widened.reason == "NOT_ALLOWED"
    assert (await refused_create(rig, "NEW", key="web")).reason == "NOT_ALLOWED"
    assert (await create(rig, "NEW", allowed_groups=["web"], key="web")).name == "NEW"


async def test_a_secret_of_no_group_is_an_admins(rig):
    await create(rig, "ADMINS", "long enough", secret=True)

    for request in (
        change("ADMINS", ["allowed_groups"], allowed_groups=["Default"]),
        change("ADMINS", ["value"], value="mine"),
    ):
        failed = await rig.refused("VariableService.UpdateVariable", request, key="operator")
        assert failed.reason == "NOT_ALLOWED"
    assert (await refused_create(rig, "MINE", key="operator", secret=True)).reason == "NOT_ALLOWED"
    gone = await rig.refused(
        "VariableService.DeleteVariable",
        pb.DeleteVariableRequest(variable_id="ADMINS"),
        key="operator",
    )
    assert gone.reason == "NOT_ALLOWED"


async def test_events_of_a_variable_are_seen_where_it_may_be_used(rig):
    await create(rig, "WEB", allowed_groups=["web"])
    await create(rig, "OPS", allowed_groups=["ops"])
    assert await kinds(rig, key="web") == ["variable.created"]
    assert len(await kinds(rig)) == 2


async def test_variables_are_searched_by_any_part_of_their_name_in_pages(rig):
    for name in ("DB_HOST", "DB_PORT", "MAIL"):
        await create(rig, name)
    assert await names(rig, search="db_") == ["DB_HOST", "DB_PORT"]
    first = await rig.call("VariableService.ListVariables", pb.ListVariablesRequest(page_size=2))
    assert (first.total, first.total_exact) == (3, True)
    assert await names(rig, page_size=2, page_token=first.next_page_token) == ["MAIL"]


async def test_an_unknown_field_of_the_mask_is_refused(rig):
    await create(rig)
    failed = await rig.refused("VariableService.UpdateVariable", change(paths=["valeu"]))
    assert "fields are" in failed.message
