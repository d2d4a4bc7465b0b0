"""The hash chain over audit entries: one chain for each life of a controller.

An entry's hash is SHA-256 over the hash before it and every column; a chain's
beginning and its end are signed (HMAC with a key that is not in the store), and
so is the book of which chains there are. What memory holds of it, the head,
moves only when the batch is certainly committed; in any doubt it is read again,
and where what is found is not what this life wrote, a new chain is begun, so
that nothing is skipped, forked or signed over. Runs on the committer's thread.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kronforce.core.ids import to_text
from kronforce.failpoints import failpoint
from kronforce.store import dialect
from kronforce.store.audit import CHAIN_BITS, CHAINS_MAX, NewEntry
from kronforce.store.database import Tx
from kronforce.store.dialect import Row
from kronforce.store.hot.commands import CreateRun
from kronforce.store.tables import audit, audit_book, audit_chains

# Where the first entry of a chain has no entry before it.
NO_HASH = bytes(32)
BOOK = 1
_BOOK = ("first_chain", "last_chain", "cut", "broken_at")

_INSERT = dialect.insert(
    audit, "key", "at", "actor", "actor_id", "operation", "resource_type", "resource_id",
    "resource_name", "group_name", "refused", "peer", "surface", "detail", "hash",
)  # fmt: skip
_MOVE = dialect.update(
    audit_chains,
    ("chain_id", "before=last_seq", "last_seq", "last_hash", "last_mac"),
    set_="last_seq = :last_seq, last_hash = :last_hash, last_mac = :last_mac",
    where="t.chain_id = :chain_id AND t.last_seq = :before",
)

_before_write = failpoint("store.audit.before_write")
_after_write = failpoint("store.audit.after_write")


class ChainLost(Exception):
    """The stored end of the chain is not where this life left it: the batch is tried again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The end of a chain."""

    chain_id: int
    seq: int
    hash: bytes


class Signer:
    """Signs what bounds a chain. One key for all controllers of a store."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, *parts: object) -> bytes:
        """32 bytes over the parts, each with its length."""
        text = b"".join(b"%d:%b" % (len(raw), raw) for raw in map(_raw, parts))
        return hmac.digest(self._key, text, "sha256")

    def beginning(
        self, chain_id: int, controller: str, started_at: int, first_seq: int, first_hash: bytes
    ) -> bytes:
        """Over where a chain begins."""
        return self.sign("first", chain_id, controller, started_at, first_seq, first_hash)

    def first(self, row: Any) -> bytes:
        """The same of a row of `audit_chains`."""
        return self.beginning(row.chain_id, row.controller, row.started_at, row.first_seq,
                              bytes(row.first_hash))  # fmt: skip

    def last(self, chain_id: int, seq: int, hash_: bytes) -> bytes:
        """Over where it ends."""
        return self.sign("last", chain_id, seq, hash_)

    def book(self, book: Mapping[str, Any]) -> bytes:
        """Over which chains there are."""
        return self.sign("book", *(book[name] for name in _BOOK))


def _raw(part: object) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode()


def entry_hash(before: bytes, key: int, entry: Row, detail: bytes) -> bytes:
    """SHA-256 over the hash before and every column; texts with their lengths."""
    at, actor, actor_id, operation, type_, id_, name, group, refused, peer, surface = entry
    # By hand, because every triggered run pays for it.
    text = (
        f"{key} {at} {refused:d} {len(actor)} {actor} {len(actor_id)} {actor_id} {len(operation)} "
        f"{operation} {len(type_)} {type_} {len(id_)} {id_} {len(name)} {name} {len(group)} "
        f"{group} {len(peer)} {peer} {len(surface)} {surface} "
    )
    return hashlib.sha256(before + text.encode() + detail).digest()


def row_hash(before: bytes, row: Any) -> bytes:
    """The same for a row of `audit`."""
    entry = (
        row.at, row.actor, row.actor_id, row.operation, row.resource_type, row.resource_id,
        row.resource_name, row.group_name, row.refused, row.peer, row.surface,
    )  # fmt: skip
    return entry_hash(before, row.key, entry, bytes(row.detail))


class AuditChain:
    """This life's chain. `write` in every batch, then `settle` with what became of it."""

    def __init__(self, key: bytes, now_us: Callable[[], int]) -> None:
        self.signer = Signer(key)
        self._now_us = now_us
        # Tells this life's chain from another's that got its number after a rollback.
        self.controller = f"{socket.gethostname()} {secrets.token_hex(8)}"
        self._head: Head | None = None
        # What the batch under way makes of it, and where to look for it after a doubt.
        self._pending: Head | None = None
        self._chain_id = 0

    def write(self, tx: Tx, noted: Sequence[NewEntry | CreateRun]) -> None:
        """Chain what the batch noted. Raises ChainLost."""
        self._pending = None
        if not noted:
            return
        _before_write()
        head = self._head or self._find(tx) or self._begin(tx)
        self._chain_id = head.chain_id
        seq, hash_ = head.seq, head.hash
        key = (head.chain_id << CHAIN_BITS) + seq
        rows = []
        for item in noted:
            key += 1
            entry, detail = _triggered(item) if isinstance(item, CreateRun) else _columns(item)
            hash_ = entry_hash(hash_, key, entry, detail)
            rows.append((key, *entry, detail, hash_))
        seq += len(rows)
        tx.run(_INSERT, rows)
        mac = self.signer.last(head.chain_id, seq, hash_)
        if tx.run(_MOVE, [(head.chain_id, head.seq, seq, hash_, mac)]) != 1:
            raise ChainLost
        self._pending = Head(chain_id=head.chain_id, seq=seq, hash=hash_)
        _after_write()

    def settle(self, *, landed: bool) -> None:
        """The batch is committed; or it is not, or nobody knows."""
        if not landed:
            self._head = None
        elif self._pending is not None:
            self._head = self._pending
        self._pending = None

    def has_landed(self, tx: Tx) -> bool | None:
        """Whether the batch under way is in the store; None: it noted nothing."""
        if self._pending is None:
            return None
        key = (self._pending.chain_id << CHAIN_BITS) + self._pending.seq
        return tx.conn.scalar(sa.select(audit.c.hash).where(audit.c.key == key)) == (
            self._pending.hash
        )

    def _find(self, tx: Tx) -> Head | None:
        """The end of this life's chain as it is stored; None: there is none to be trusted."""
        if not self._chain_id:
            return None
        query = (
            sa.select(audit_chains)
            .where(
                audit_chains.c.chain_id == self._chain_id,
                audit_chains.c.controller == self.controller,
            )
            .with_for_update()
        )
        row = tx.conn.execute(query).one_or_none()
        if row is None or row.last_mac != self.signer.last(
            row.chain_id, row.last_seq, row.last_hash
        ):
            return None
        return Head(chain_id=row.chain_id, seq=row.last_seq, hash=row.last_hash)

    def _begin(self, tx: Tx) -> Head:
        """A new chain, entered into the book."""
        chain_id = enter(tx, self.signer, self._now_us())
        values: dict[str, Any] = {
            "chain_id": chain_id,
            "controller": self.controller,
            "started_at": self._now_us(),
            "first_seq": 1,
            "first_hash": NO_HASH,
            "last_seq": 0,
            "last_hash": NO_HASH,
            "last_mac": self.signer.last(chain_id, 0, NO_HASH),
        }
        started_at = values["started_at"]
        values["first_mac"] = self.signer.beginning(
            chain_id, self.controller, started_at, 1, NO_HASH
        )
        tx.conn.execute(sa.insert(audit_chains).values(values))
        return Head(chain_id=chain_id, seq=0, hash=NO_HASH)


def enter(tx: Tx, signer: Signer, now: int) -> int:
    """Enter one more chain into the book; its number."""
    fresh: dict[str, Any] = {
        "key": BOOK,
        "first_chain": 1,
        "last_chain": 0,
        "cut": 0,
        "broken_at": None,
    }
    fresh["mac"] = signer.book(fresh)
    insert = dialect.insert_into(audit_book, sqlite=tx.sqlite).values(fresh)
    tx.conn.execute(insert.on_conflict_do_nothing())
    book = sa.select(audit_book).where(audit_book.c.key == BOOK)
    row = tx.conn.execute(book.with_for_update()).one()
    number = audit_chains.c.chain_id
    # One that no life can have had is somebody else's: it must not keep this one from writing.
    last = tx.conn.scalar(sa.select(sa.func.max(number)).where(number < CHAINS_MAX - 1)) or 0
    entered = int(row.last_chain) if row.last_chain < CHAINS_MAX - 1 else 0
    chain_id = max(entered, int(last)) + 1
    write_book(tx, signer, row, now, last_chain=chain_id)
    return chain_id


def write_book(tx: Tx, signer: Signer, row: Any, now: int, **changed: int) -> None:
    """Change the book and sign it. One that was not signed by us is never made good by that."""
    values = {name: getattr(row, name) for name in _BOOK} | changed
    if row.broken_at is None and not hmac.compare_digest(row.mac, signer.book(row._asdict())):
        values["broken_at"] = now
    values["mac"] = signer.book(values)
    tx.conn.execute(sa.update(audit_book).where(audit_book.c.key == row.key).values(values))


def _columns(entry: NewEntry) -> tuple[Row, bytes]:
    who = entry.actor
    return (
        entry.at, who.name, who.id, entry.operation, entry.resource_type, entry.resource_id,
        entry.resource_name, entry.group, entry.refused, who.peer, who.surface,
    ), entry.detail  # fmt: skip


def _triggered(run: CreateRun) -> tuple[Row, bytes]:
    """`job.triggered`: the run that a principal's trigger made."""
    who, job = run.actor, run.job
    # By hand too: canonical JSON, keys in order.
    of = f'"rerun_of":"{to_text(run.rerun_of)}",' if run.rerun_of else ""
    detail = f'{{"details":{{{of}"run_id":"{to_text(run.id)}"}}}}'
    return (
        run.created_at, who.name, who.id, "job.triggered", "job", job.id_text, job.name, job.group,
        False, who.peer, who.surface,
    ), detail.encode()  # fmt: skip
