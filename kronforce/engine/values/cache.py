"""Every variable in memory, as the store has it: assignments never wait for a query.

Secrets are held sealed and opened where they are used. `refresh` takes over
what has changed since the last revision that was seen: after each change made
here, before its caller hears of it, and every second for changes made by
another controller.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from kronforce.engine.values.changes import place_of
from kronforce.security.envelope import Keyring
from kronforce.store import secret_keys, variables
from kronforce.store.database import Tx
from kronforce.store.secret_keys import SecretKeyRow
from kronforce.store.store import Store
from kronforce.store.variables import Changes, VariableRow


class VariableCache:
    """By name. Belongs to the event loop."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._by_name: dict[str, VariableRow] = {}
        self._revision = 0
        self._one_at_a_time = asyncio.Lock()

    def get(self, name: str) -> VariableRow | None:
        """The variable of this name."""
        return self._by_name.get(name)

    def text_of(self, row: VariableRow) -> bytes:
        """Its value, a secret's too. Raises CannotOpen where the row was tampered with."""
        if not row.secret:
            return row.value
        return self._keyring.open(place_of(row.id), row.value)

    def rename_group(self, old_name: str, new_name: str) -> None:
        """A group is called otherwise now; what the store says follows with the next look."""
        for name, row in self._by_name.items():
            if old_name in row.allowed_groups:
                groups = tuple(new_name if g == old_name else g for g in row.allowed_groups)
                self._by_name[name] = replace(row, allowed_groups=groups)

    async def poll(self) -> None:
        """Take over what others have changed, if they have."""
        if await self._store.read_once(variables.revision) != self._revision:
            await self.refresh()

    async def refresh(self) -> None:
        """Take over what has changed."""
        async with self._one_at_a_time:
            changes, keys = await self._store.read(_read, self._revision)
            # Both or neither: rows are opened by the keys that were read with them.
            self._keyring.keep_only(keys)
            kept = {n: row for n, row in self._by_name.items() if row.key in changes.keys}
            for row in changes.rows:
                kept[row.name] = row
            self._by_name = kept
            self._revision = changes.revision


def _read(tx: Tx, seen: int) -> tuple[Changes, list[SecretKeyRow]]:
    found = variables.changes_since(tx, seen)
    return found, secret_keys.all_keys(tx)
