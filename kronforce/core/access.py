"""Who may do what: roles, the permissions they grant, and the scope of a caller.

Deny by default: a permission that is not listed here is granted to nobody, and
the server refuses to start when a method asks for one that does not exist.
Roles do not inherit; each row is written out, so that it can be read. A scope
travels into every store function, which filters by it in SQL.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a key is for."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"
    AGENT = "agent"


# The permission of methods that need no key at all.
PUBLIC = "public"

_READS = frozenset(
    {
        "jobs.read",
        "runs.read",
        "agents.read",
        "groups.read",
        "events.read",
        "system.read",
        "variables.read",
    }
)
_OPERATES = frozenset(
    {"jobs.write", "runs.trigger", "runs.cancel", "groups.write", "variables.write"}
)
_ADMINISTERS = frozenset({"agents.write", "audit.read", "keys.admin", "system.admin"})
_SERVES = frozenset({"agents.serve"})
# What people look up and agents look up of themselves.
_LOOKS_UP = frozenset({"task_types.read"})
# What any valid key may do: ask who it is.
_KNOWS_ITSELF = frozenset({"self.read"})

PERMISSIONS = _READS | _OPERATES | _ADMINISTERS | _SERVES | _LOOKS_UP | _KNOWS_ITSELF
# What agents on this host may do without a key, where the operator says so.
OPEN_TO_AGENTS = _SERVES | _LOOKS_UP

# An admin key does not serve as an agent: an agent's credential is bound to its id.
GRANTS: dict[Role, frozenset[str]] = {
    Role.ADMIN: _READS | _OPERATES | _ADMINISTERS | _LOOKS_UP | _KNOWS_ITSELF,
    Role.OPERATOR: _READS | _OPERATES | _LOOKS_UP | _KNOWS_ITSELF,
    Role.VIEWER: _READS | _LOOKS_UP | _KNOWS_ITSELF,
    Role.AGENT: _SERVES | _LOOKS_UP | _KNOWS_ITSELF,
}


def is_known(permission: str) -> bool:
    """Whether a method may name this permission."""
    return permission == PUBLIC or permission in PERMISSIONS


def administers(permission: str) -> bool:
    """Whether the permission is an admin's alone: refusing it is audited."""
    return permission in _ADMINISTERS


def grants(role: Role, permission: str) -> bool:
    """Whether the role may call a method with this permission."""
    return permission == PUBLIC or permission in GRANTS[role]


def roles_with(permission: str) -> list[Role]:
    """The roles that grant it, for the message that tells a caller what to ask for."""
    return [role for role in Role if grants(role, permission)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What one caller may see and touch.

    `groups` None means every group; an empty set means none. `agent_id` is set
    for an agent's credential: only what is assigned to that agent.
    """

    principal_id: str
    role: Role
    groups: frozenset[str] | None = None
    agent_id: bytes | None = None

    def allows_group(self, name: str) -> bool:
        return self.groups is None or name in self.groups

    def grants(self, permission: str) -> bool:
        return grants(self.role, permission)


def may_use(
    allowed_groups: Collection[str],
    job_group: str,
    *,
    guarded: bool = False,
    by_admin: bool = False,
) -> bool:
    """Whether a job of this group may name a thing: an agent, a variable, a connection.

    The same answer when the job is saved and when its run needs the thing, for
    whoever fires it. `guarded` things (secrets, connections) that name no group
    are for jobs whose version was saved by an admin; others then for every job.
    """
    if allowed_groups:
        return job_group in allowed_groups
    return by_admin or not guarded


def may_see(scope: Scope, allowed_groups: Collection[str]) -> bool:
    """Whether a caller may know of a thing: one of its groups may use it."""
    if scope.groups is None or not allowed_groups:
        return True
    return not scope.groups.isdisjoint(allowed_groups)


def may_change(scope: Scope, allowed_groups: Collection[str]) -> bool:
    """Whether a caller may change a thing: no group outside its own could miss it."""
    if scope.groups is None:
        return True
    return bool(allowed_groups) and scope.groups.issuperset(allowed_groups)


def system_scope(component: str) -> Scope:
    """The scope of a loop of the controller itself; named in audit and logs."""
    return Scope(principal_id=f"system:{component}", role=Role.ADMIN)
