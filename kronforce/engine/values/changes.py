"""What the use cases of variables write, each as one function over one transaction.

Every change raises `variable_revision` first: from there on it is alone with
variables and their keys, so that no secret is ever written under a key that
goes. A change and its event are written together or not at all. Values are in
no event, no error and no log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kronforce.core import ids
from kronforce.core.access import Role, Scope, may_change
from kronforce.core.variable_rules import (
    TOTAL_BYTES_MAX,
    VARIABLES_MAX,
    stages_passed,
)
from kronforce.engine.audit_states import instant
from kronforce.engine.auditing import Resource, record
from kronforce.errors import (
    Aborted,
    AlreadyExists,
    Internal,
    InUse,
    InvalidArgument,
    NotAllowed,
    ResourceExhausted,
    VariableNotFound,
)
from kronforce.security.envelope import Keyring
from kronforce.security.secret import MASK
from kronforce.store import events, secret_keys, variables
from kronforce.store.audit import Actor
from kronforce.store.database import Tx
from kronforce.store.variables import VariableRow
from kronforce.v1.event_pb2 import SEVERITY_INFO, SEVERITY_WARNING

# Jobs that a refusal lists; more would be a list to read.
JOBS_LISTED = 5

_PLACE = b"variables.value:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What all changes have in common. `trusted`: an admin, or whoever is trusted as one."""

    scope: Scope
    author: Actor
    trusted: bool
    now: int
    keyring: Keyring


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A variable as its author wants it; None leaves a field as it is."""

    value: str | None = None
    secret: bool | None = None
    description: str | None = None
    allowed_groups: tuple[str, ...] | None = None
    # Whether the expiry is part of the change, and the instant; None there: never.
    sets_expiry: bool = False
    expires_at: int | None = None


def create_variable(
    tx: Tx, change: Change, *, variable_id: bytes, name: str, draft: Draft
) -> VariableRow:
    """Keep a new variable. Raises AlreadyExists, NotAllowed, ResourceExhausted."""
    revision = variables.raise_revision(tx)
    secret, value = bool(draft.secret), (draft.value or "").encode()
    groups = draft.allowed_groups or ()
    _check_may_change(change, secret=secret, groups=groups, name=name)
    if draft.value == MASK and secret:
        raise InvalidArgument.of(
            ("value", "is the mask that secrets read back as, and there is no value to keep")
        )
    _check_room(tx, len(value))
    stored, key = _stored(tx, change, variable_id, value, secret=secret)
    row = variables.insert_variable(
        tx,
        id=variable_id,
        name=name,
        secret=secret,
        value=stored,
        secret_key=key,
        description=draft.description or "",
        allowed_groups=groups,
        expires_at=draft.expires_at,
        expiry_told=_told(draft.expires_at, change.now),
        revision=revision,
        actor=change.author.name,
        now=change.now,
    )
    if row is None:
        raise AlreadyExists(
            f"a variable named {name!r} exists; change that one, or choose another name", name=name
        )
    _tell(tx, change, "variable.created", row, "was made")
    _record(tx, change, "variable.created", None, row)
    return row


def update_variable(
    tx: Tx, change: Change, *, ref: str, etag: str, name: str | None, draft: Draft
) -> VariableRow:
    """Change what the draft names. Raises VariableNotFound, Aborted, NotAllowed."""
    revision = variables.raise_revision(tx)
    row = require(tx, change.scope, ref)
    _check_etag(row, etag)
    _check_may_change(change, secret=row.secret, groups=row.allowed_groups, name=row.name)
    if name not in (None, "", row.name):
        raise InvalidArgument.of(
            ("name", f"is fixed as {row.name!r}; make another variable and delete this one")
        )
    wanted = _merged(row, draft)
    _check_may_change(change, secret=wanted.secret, groups=wanted.allowed_groups, name=row.name)
    if row.secret and not wanted.secret:
        raise InvalidArgument.of(
            ("secret", "a secret cannot be made one that is shown; delete it and make it anew")
        )
    value, key = _value_of(tx, change, row, draft, secret=wanted.secret)
    told = _told(draft.expires_at, change.now) if draft.sets_expiry else row.expiry_told
    changed = variables.update_variable(
        tx,
        key=row.key,
        secret=wanted.secret,
        value=value,
        secret_key=key,
        description=wanted.description,
        allowed_groups=wanted.allowed_groups,
        expires_at=wanted.expires_at,
        expiry_told=told,
        revision=revision,
        actor=change.author.name,
        now=change.now,
    )
    _tell(tx, change, "variable.updated", changed, "was changed")
    _record(tx, change, "variable.updated", row, changed)
    return changed


def delete_variable(tx: Tx, change: Change, *, ref: str, force: bool) -> VariableRow:
    """Delete it. Raises InUse while jobs name it, unless `force` says so."""
    variables.raise_revision(tx)
    row = require(tx, change.scope, ref)
    _check_may_change(change, secret=row.secret, groups=row.allowed_groups, name=row.name)
    if not force:
        _check_unused(tx, change.scope, row)
    variables.delete_variable(tx, row.key)
    _tell(tx, change, "variable.deleted", row, "was deleted")
    _record(tx, change, "variable.deleted", row, None)
    return row


def require(tx: Tx, scope: Scope, ref: str) -> VariableRow:
    """The variable of this id or name that the scope may see."""
    if not ref:
        raise InvalidArgument.of(("variable_id", "is required: a variable's id or exact name"))
    row = variables.find_variable(tx, scope, ref)
    if row is None:
        raise VariableNotFound(f"no variable {ref!r}; see `kronforce variable list`", variable=ref)
    return row


def etag_of(row: VariableRow) -> str:
    """Changes with every change."""
    return str(row.version)


def place_of(variable_id: bytes) -> bytes:
    """What a secret's value is bound to: copied into another row it does not open."""
    return _PLACE + variable_id


def _merged(row: VariableRow, draft: Draft) -> VariableRow:
    return replace(
        row,
        secret=row.secret if draft.secret is None else draft.secret,
        description=row.description if draft.description is None else draft.description,
        allowed_groups=(
            row.allowed_groups if draft.allowed_groups is None else draft.allowed_groups
        ),
        expires_at=draft.expires_at if draft.sets_expiry else row.expires_at,
    )


def _value_of(
    tx: Tx, change: Change, row: VariableRow, draft: Draft, *, secret: bool
) -> tuple[bytes, str | None]:
    """The value as it will be stored; the mask sent back keeps what there is."""
    keeps = draft.value is None or (row.secret and draft.value == MASK)
    if keeps and row.secret == secret:
        return row.value, row.secret_key
    value = row.value if keeps else (draft.value or "").encode()
    _check_room(tx, len(value) - len(row.value), more=0)
    return _stored(tx, change, row.id, value, secret=secret)


def _stored(
    tx: Tx, change: Change, variable_id: bytes, value: bytes, *, secret: bool
) -> tuple[bytes, str | None]:
    """The value's column and the key that it is written under."""
    if not secret:
        return value, None
    current = secret_keys.current_key(tx)
    if current is None:
        raise Internal("there is no key to write secrets under; restart the controller")
    key = change.keyring.key_of(current)
    return key.seal(place_of(variable_id), value), ids.to_text(current.id)


def _check_room(tx: Tx, size: int, *, more: int = 1) -> None:
    count, total = variables.totals(tx)
    if more and count + more > VARIABLES_MAX:
        raise ResourceExhausted(
            f"there are {count:,} variables, which is as many as fit; delete some", limit=count
        )
    if size > 0 and total + size > TOTAL_BYTES_MAX:
        raise ResourceExhausted(
            f"the values of all variables would be above {TOTAL_BYTES_MAX >> 20} MiB; keep large "
            "texts in files on the agents' hosts"
        )


def _check_etag(row: VariableRow, etag: str) -> None:
    if etag and etag != etag_of(row):
        raise Aborted(
            f"variable {row.name!r} was changed meanwhile; read it again, then retry with its "
            "new etag",
            etag=etag_of(row),
        )


def _check_may_change(change: Change, *, secret: bool, groups: Sequence[str], name: str) -> None:
    """A limited key: what no other group may use. Secrets of nobody's group: those trusted."""
    scope = change.scope
    if not may_change(scope, groups):
        mine = ", ".join(sorted(scope.groups or ()))
        raise NotAllowed(
            f"variable {name!r} is not for your key's groups alone, so it may not change it; set "
            f"allowed_groups to some of: {mine}, or ask an admin",
            variable=name,
        )
    if secret and not groups and not (change.trusted or scope.role is Role.ADMIN):
        raise NotAllowed(
            f"secret {name!r} without allowed_groups is for jobs that an admin saved, so only an "
            "admin may change it; name the groups whose jobs may use it",
            variable=name,
        )


def _check_unused(tx: Tx, scope: Scope, row: VariableRow) -> None:
    found = variables.jobs_naming(tx, scope, row.name, JOBS_LISTED + 1)
    if not found:
        return
    names = [name for name in found[:JOBS_LISTED] if name is not None]
    listed = ", ".join(names) if names else "jobs of other groups"
    more = " and others" if names and len(found) > len(names) else ""
    raise InUse(
        f"variable {row.name!r} is named by {listed}{more}; change them first, or delete it with "
        "force (--force): their next attempts then find nothing for it",
        variable=row.name,
    )


def _told(expires_at: int | None, now: int) -> int:
    """Stages that lie behind already when the expiry is set are not told of."""
    return 0 if expires_at is None else stages_passed(expires_at, now)


def _tell(tx: Tx, change: Change, kind: str, row: VariableRow, what: str) -> None:
    warns = kind == "variable.deleted"
    events.insert_events(
        tx,
        [
            events.NewEvent(
                kind=kind,
                severity=SEVERITY_WARNING if warns else SEVERITY_INFO,
                at=change.now,
                message=f"{word_of(row)} {row.name} {what}",
                actor=change.author.name,
                group_name=event_group(row),
            )
        ],
    )


def _record(
    tx: Tx,
    change: Change,
    operation: str,
    before: VariableRow | None,
    after: VariableRow | None,
) -> None:
    row = after or before
    assert row is not None
    # A value that becomes a secret was none before; from now on nobody reads it anywhere.
    hidden = any(each is not None and each.secret for each in (before, after))
    new_value = before is not None and after is not None and before.value != after.value
    record(
        tx,
        change.author,
        change.now,
        operation,
        Resource(type="variable", id=ids.to_text(row.id), name=row.name, group=event_group(row)),
        before=None if before is None else _state(before, hidden=hidden),
        after=None if after is None else _state(after, hidden=hidden),
        details={"value_changed": True} if new_value else None,
    )


def _state(row: VariableRow, *, hidden: bool) -> dict[str, object]:
    return {
        "value": MASK if hidden else row.value.decode(),
        "secret": row.secret,
        "description": row.description,
        "allowed_groups": list(row.allowed_groups),
        "expires_at": instant(row.expires_at),
    }


def word_of(row: VariableRow) -> str:
    """`secret` or `variable`."""
    return "secret" if row.secret else "variable"


def event_group(row: VariableRow) -> str:
    """The group whose keys see its events: the only one that may use it; others by no group."""
    return row.allowed_groups[0] if len(row.allowed_groups) == 1 else ""
