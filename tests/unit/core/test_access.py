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
