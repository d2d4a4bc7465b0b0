"""The use cases of variables: create, change, delete; and their keys' rotation.

Each change is one transaction (`variable_changes.py`); the copy in memory has
it before the caller hears of it, so that the next assignment does too. Checks
that need no store come first.
"""

from __future__ import annotations

from collections.abc import Sequence

from kronforce.clock import Clock
from kronforce.core.access import Role, Scope
from kronforce.core.ids import IdSource
from kronforce.core.variable_rules import (
    DAY,
    Problem,
    days_problem,
    name_problem,
    other_problems,
    value_problems,
)
from kronforce.engine.values import changes as variable_changes
from kronforce.engine.values import key_rotation
from kronforce.engine.values.cache import VariableCache
from kronforce.engine.values.changes import Change, Draft
from kronforce.engine.values.key_rotation import Rotated
from kronforce.errors import InvalidArgument
from kronforce.security.envelope import Keyring
from kronforce.store.audit import Actor
from kronforce.store.store import Store
from kronforce.store.variables import VariableRow
from kronforce.v1.variable_pb2 import Variable

# What a change may name; `expires_in_days` is another way to say `expires_at`.
_CHANGEABLE = ("name", "value", "secret", "description", "allowed_groups", "expires_at")
_EXPIRY = frozenset({"expires_at", "expires_in_days"})


class Variables:
    """Every change that a caller can make to variables."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        new_id: IdSource,
        keyring: Keyring,
        cache: VariableCache,
        trust_operators: bool,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._keyring = keyring
        self._cache = cache
        self._trust_operators = trust_operators

    async def create(self, scope: Scope, author: Actor, wanted: Variable) -> VariableRow:
        """Make one."""
        change = self._change(scope, author)
        if problem := name_problem(wanted.name):
            raise InvalidArgument.of(("name", problem), *_problems(wanted, _CHANGEABLE, change.now))
        draft = _draft(wanted, _CHANGEABLE, change.now)
        row = await self._store.write(
            variable_changes.create_variable,
            change,
            variable_id=self._new_id(),
            name=wanted.name,
            draft=draft,
        )
        await self._cache.refresh()
        return row

    async def update(
        self, scope: Scope, author: Actor, ref: str, wanted: Variable, paths: Sequence[str]
    ) -> VariableRow:
        """Change the fields of the mask; without one all that can be."""
        change = self._change(scope, author)
        fields = _fields_of(paths)
        row = await self._store.write(
            variable_changes.update_variable,
            change,
            ref=ref,
            etag=wanted.etag,
            name=wanted.name if "name" in fields else None,
            draft=_draft(wanted, fields, change.now),
        )
        await self._cache.refresh()
        return row

    async def delete(self, scope: Scope, author: Actor, ref: str, *, force: bool) -> None:
        """Delete one that no job names, or any with `force`."""
        change = self._change(scope, author)
        await self._store.write(variable_changes.delete_variable, change, ref=ref, force=force)
        await self._cache.refresh()

    async def rotate_key(self, author: Actor) -> Rotated:
        """A new key for secrets, and every secret written anew under it."""
        rotated = await key_rotation.rotate(
            self._store,
            self._keyring,
            author=author,
            key_id=self._new_id(),
            now=self._clock.now_us(),
        )
        await self._cache.refresh()
        return rotated

    def _change(self, scope: Scope, author: Actor) -> Change:
        return Change(
            scope=scope,
            author=author,
            trusted=self._trust_operators or scope.role is Role.ADMIN,
            now=self._clock.now_us(),
            keyring=self._keyring,
        )


def _fields_of(paths: Sequence[str]) -> tuple[str, ...]:
    """The mask's fields that can be changed; all of them without one."""
    if not paths or "*" in paths:
        return _CHANGEABLE
    known = Variable.DESCRIPTOR.fields_by_name
    if wrong := [path for path in paths if path not in known]:
        names = ", ".join([*_CHANGEABLE, "expires_in_days"])
        raise InvalidArgument.of(
            *(("update_mask", f"a variable has no field {p!r}; fields are {names}") for p in wrong)
        )
    return tuple("expires_at" if path in _EXPIRY else path for path in paths)


def _draft(wanted: Variable, fields: Sequence[str], now: int) -> Draft:
    """What the caller wants, checked. Raises InvalidArgument."""
    if problems := _problems(wanted, fields, now):
        raise InvalidArgument.of(*problems)
    return Draft(
        value=wanted.value if "value" in fields else None,
        secret=wanted.secret if "secret" in fields else None,
        description=wanted.description if "description" in fields else None,
        allowed_groups=tuple(wanted.allowed_groups) if "allowed_groups" in fields else None,
        sets_expiry="expires_at" in fields,
        expires_at=_expiry(wanted, now),
    )


def _problems(wanted: Variable, fields: Sequence[str], now: int) -> list[Problem]:
    found: list[Problem] = []
    if "value" in fields:
        found += value_problems(wanted.value)
    found += other_problems(
        wanted.description if "description" in fields else "",
        wanted.allowed_groups if "allowed_groups" in fields else (),
    )
    if "expires_at" in fields:
        found += _expiry_problems(wanted, now)
    return found


def _expiry_problems(wanted: Variable, now: int) -> list[Problem]:
    if wanted.HasField("expires_in_days"):
        if wanted.HasField("expires_at"):
            return [("expires_in_days", "is another way to say expires_at; give one of them")]
        problem = days_problem(wanted.expires_in_days)
        return [("expires_in_days", problem)] if problem else []
    if wanted.HasField("expires_at") and not now < _instant(wanted) <= _LATEST:
        return [("expires_at", "must lie ahead, before the year 9999")]
    return []


# The end of 9998, in microseconds: a calendar's room for what is counted from it.
_LATEST = 253_370_764_799 * 1_000_000


def _instant(wanted: Variable) -> int:
    stamp = wanted.expires_at
    return int(stamp.seconds) * 1_000_000 + int(stamp.nanos) // 1_000


def _expiry(wanted: Variable, now: int) -> int | None:
    if wanted.HasField("expires_in_days"):
        return now + wanted.expires_in_days * DAY
    return _instant(wanted) if wanted.HasField("expires_at") else None
