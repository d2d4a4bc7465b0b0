"""Rotation of the key that secrets are written under, while everything goes on.

A new key is made, every secret is written anew under it in small batches, and
the key before is deleted once no row needs it. Level-triggered: `finish` does
what is left, whoever began it, so that a controller that was killed half way
goes on at its next start. Nothing a caller sees of a variable changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from kronforce.core import ids
from kronforce.engine.auditing import Resource, record
from kronforce.engine.values.changes import place_of
from kronforce.engine.webhooks.changes import place_of as place_of_webhook
from kronforce.failpoints import failpoint
from kronforce.security.envelope import Keyring
from kronforce.store import secret_keys, variables, webhooks
from kronforce.store.audit import Actor
from kronforce.store.database import Tx
from kronforce.store.store import Store

# Secrets written anew in one transaction: the hot path waits for no more than a few milliseconds.
BATCH = 50

_key_made = failpoint("engine.rotation.key_made")
_batch_written = failpoint("engine.rotation.batch_written")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotated:
    """The key that is current now, and how many secrets were written anew."""

    key_id: bytes
    rewritten: int


async def ensure_key(store: Store, keyring: Keyring, *, key_id: bytes, now: int) -> None:
    """Make the first key where there is none."""
    await store.write(_make_first, keyring, key_id, now)


async def rotate(
    store: Store, keyring: Keyring, *, author: Actor, key_id: bytes, now: int
) -> Rotated:
    """Make a new key and write everything anew under it."""
    await store.write(_make_key, keyring, author, key_id, now)
    _key_made()
    return Rotated(key_id=key_id, rewritten=await finish(store, keyring))


async def finish(store: Store, keyring: Keyring) -> int:
    """What is left of any rotation: secrets under older keys, then those keys."""
    rewritten = 0
    while True:
        done = await store.write(_rewrite_some, keyring)
        if done == 0:
            return rewritten
        rewritten += done
        _batch_written()


async def is_unfinished(store: Store) -> bool:
    """Whether there is more than one key."""
    return len(await store.read(secret_keys.all_keys)) > 1


def _make_first(tx: Tx, keyring: Keyring, key_id: bytes, now: int) -> None:
    # Alone from here on: of two controllers that start at once, one makes it.
    variables.raise_revision(tx)
    if secret_keys.current_key(tx) is None:
        _insert_key(tx, keyring, key_id, now)


def _make_key(tx: Tx, keyring: Keyring, author: Actor, key_id: bytes, now: int) -> None:
    variables.raise_revision(tx)
    _insert_key(tx, keyring, key_id, now)
    made = Resource(type="secret_key", id=ids.to_text(key_id))
    record(tx, author, now, "secret_key.rotated", made)


def _insert_key(tx: Tx, keyring: Keyring, key_id: bytes, now: int) -> None:
    wrapped, canary = keyring.new_key(key_id)
    secret_keys.insert_key(tx, id=key_id, wrapped=wrapped, canary=canary, now=now)


def _rewrite_some(tx: Tx, keyring: Keyring) -> int:
    """A batch; 0 when nothing was left, and the keys that nothing needs are deleted."""
    revision = variables.raise_revision(tx)
    known = {ids.to_text(row.id): row for row in secret_keys.all_keys(tx)}
    current = secret_keys.current_key(tx)
    assert current is not None, "a database that is served has a key"
    name = ids.to_text(current.id)
    done = 0
    for row in variables.under_other_keys(tx, name, BATCH):
        place = place_of(row.id)
        text = keyring.key_of(known[row.secret_key or ""]).open(place, row.value)
        sealed = keyring.key_of(current).seal(place, text)
        variables.rewrite(tx, row.key, value=sealed, secret_key=name, revision=revision)
        done += 1
    for hook in webhooks.under_other_keys(tx, name, BATCH - done):
        place = place_of_webhook(hook.id)
        text = keyring.key_of(known[hook.secret_key or ""]).open(place, hook.secret or b"")
        sealed = keyring.key_of(current).seal(place, text)
        webhooks.rewrite(tx, hook.job_key, secret=sealed, secret_key=name)
        done += 1
    if not done:
        secret_keys.delete_unused(tx)
    return done
