import re
from pathlib import Path

import pytest

from kronforce.core.access import (
    GRANTS,
    PERMISSIONS,
    PUBLIC,
    Role,
    Scope,
    grants,
    is_known,
    may_change,
    may_see,
    may_use,
    roles_with,
    system_scope,
)

CONTRACT = Path(__file__).parents[3] / "proto/kronforce/v1"


@pytest.mark.parametrize(
    ("permission", "roles"),
    [
        ("public", {"admin", "operator", "viewer", "agent"}),
        ("jobs.read", {"admin", "operator", "viewer"}),
        ("runs.read", {"admin", "operator", "viewer"}),
        ("agents.read", {"admin", "operator", "viewer"}),
        ("groups.read", {"admin", "operator", "viewer"}),
        ("events.read", {"admin", "operator", "viewer"}),
        ("system.read", {"admin", "operator", "viewer"}),
        ("jobs.write", {"admin", "operator"}),
        ("groups.write", {"admin", "operator"}),
        ("runs.trigger", {"admin", "operator"}),
        ("runs.cancel", {"admin", "operator"}),
        ("agents.write", {"admin"}),
        ("keys.admin", {"admin"}),
        ("system.admin", {"admin"}),
        ("agents.serve", {"agent"}),
    ],
)
def test_who_is_granted_what(permission: str, roles: set[str]) -> None:
    assert {role.value for role in Role if grants(role, permission)} == roles
    assert {role.value for role in roles_with(permission)} == roles


def test_an_unknown_permission_is_granted_to_nobody() -> None:
    assert not is_known("jobs.destroy")
    assert roles_with("jobs.destroy") == []
    assert is_known(PUBLIC)


def test_every_permission_is_granted_to_somebody() -> None:
    assert frozenset().union(*GRANTS.values()) == PERMISSIONS


def test_every_permission_that_the_contract_asks_for_is_known() -> None:
    text = "".join(path.read_text() for path in CONTRACT.glob("*_service.proto"))

    asked = set(re.findall(r'permission: "([^"]*)"', text))

    assert asked
    assert {permission for permission in asked if not is_known(permission)} == set()


def test_a_scope_allows_its_groups_only() -> None:
    everyone = Scope(principal_id="key:1", role=Role.ADMIN)
    some = Scope(principal_id="key:2", role=Role.OPERATOR, groups=frozenset({"ETL"}))
    none = Scope(principal_id="key:3", role=Role.VIEWER, groups=frozenset())

    assert everyone.allows_group("anything")
    assert (some.allows_group("ETL"), some.allows_group("Default")) == (True, False)
    assert not none.allows_group("Default")
    assert some.grants("jobs.write")
    assert not none.grants("jobs.write")


def test_the_machine_acts_under_a_name_of_its_own() -> None:
    scope = system_scope("scheduler")

    assert scope.principal_id == "system:scheduler"
    assert scope.groups is None


@pytest.mark.parametrize(
    ("allowed", "group", "guarded", "by_admin", "may"),
    [
        ([], "web", False, False, True),
        (["web"], "web", False, False, True),
        (["web"], "ops", False, True, False),
        ([], "web", True, False, False),
        ([], "web", True, True, True),
        (["web"], "web", True, False, True),
        (["web"], "ops", True, True, False),
    ],
)
def test_what_a_job_of_a_group_may_name(
    allowed: list[str], group: str, guarded: bool, by_admin: bool, may: bool
) -> None:
    assert may_use(allowed, group, guarded=guarded, by_admin=by_admin) is may


@pytest.mark.parametrize(
    ("groups", "allowed", "sees", "changes"),
    [
        (None, [], True, True),
        (None, ["ops"], True, True),
        ({"web"}, [], True, False),
        ({"web"}, ["web"], True, True),
        ({"web"}, ["web", "ops"], True, False),
        ({"web", "ops"}, ["web"], True, True),
        ({"web"}, ["ops"], False, False),
        (set(), [], True, False),
        (set(), ["ops"], False, False),
    ],
)
def test_a_limited_key_sees_what_its_groups_use_and_changes_what_no_other_uses(
    groups: set[str] | None, allowed: list[str], sees: bool, changes: bool
) -> None:
    scope = Scope(
        principal_id="k",
        role=Role.OPERATOR,
        groups=None if groups is None else frozenset(groups),
    )
    assert may_see(scope, allowed) is sees
    assert may_change(scope, allowed) is changes
