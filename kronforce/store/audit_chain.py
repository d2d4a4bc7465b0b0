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


# What an entry says beside its instant and its detail: the columns from actor to surface.
What = tuple[str, str, str, str, str, str, str, bool, str, str]


def canonical(what: What) -> str:
    """These columns as the hash covers them: each text with its length."""
    actor, actor_id, operation, type_, id_, name, group, refused, peer, surface = what
    return (
        f"{len(actor)} {actor} {len(actor_id)} {actor_id} {len(operation)} {operation} "
        f"{len(type_)} {type_} {len(id_)} {id_} {len(name)} {name} {len(group)} {group} "
        f"{refused:d} {len(peer)} {peer} {len(surface)} {surface} "
    )


def entry_hash(before: bytes, key: int, at: int, said: str, detail: bytes) -> bytes:
    """SHA-256 over the hash before and every column."""
    return hashlib.sha256(b"%b%b%b" % (before, f"{key} {at} {said}".encode(), detail)).digest()


def row_hash(before: bytes, row: Any) -> bytes:
    """The same for a row of `audit`."""
    what = (
        row.actor, row.actor_id, row.operation, row.resource_type, row.resource_id,
        row.resource_name, row.group_name, row.refused, row.peer, row.surface,
    )  # fmt: skip
    return entry_hash(before, row.key, row.at, canonical(what), bytes(row.detail))


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
        """Chain what the batch noted, at the end of this life's chain."""
        self._pending = None
        if not noted:
            return
        _before_write()
        if not (self._head and self._append(tx, self._head, noted)):
            # In doubt, or the stored end is not where this life left it.
            appended = self._append(tx, self._find(tx) or self._begin(tx), noted)
            assert appended, "its row was locked or made in this transaction"
        _after_write()

    def _append(self, tx: Tx, head: Head, noted: Sequence[NewEntry | CreateRun]) -> bool:
        """Write the entries and move the end; False, and nothing is written, if it has moved."""
        rows = _chained(head, noted)
        seq, hash_ = head.seq + len(rows), rows[-1][-1]
        mac = self.signer.last(head.chain_id, seq, hash_)
        if tx.run(_MOVE, [(head.chain_id, head.seq, seq, hash_, mac)]) != 1:
            return False
        tx.run(_INSERT, rows)
        self._chain_id = head.chain_id
        self._pending = Head(chain_id=head.chain_id, seq=seq, hash=hash_)
        return True

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
    chain_id = 1 + max(_possible(row.last_chain), *_numbers_in_use(tx))
    write_book(tx, signer, row, now, last_chain=chain_id)
    return chain_id


def _numbers_in_use(tx: Tx) -> tuple[int, int]:
    """The highest that a chain has, and that an entry has, whatever the book says."""
    number, last = audit_chains.c.chain_id, CHAINS_MAX - 1
    chain = sa.select(sa.func.max(number)).where(number < last)
    entry = sa.select(sa.func.max(audit.c.key)).where(audit.c.key < last << CHAIN_BITS)
    return tx.conn.scalar(chain) or 0, (tx.conn.scalar(entry) or 0) >> CHAIN_BITS


def _possible(number: int) -> int:
    """One that no life can have had is somebody else's: it must not keep this one from writing."""
    return number if number < CHAINS_MAX - 1 else 0


def book_holds(tx: Tx, signer: Signer) -> bool:
    """Whether the book was signed with this key, or nobody has begun it."""
    row = tx.conn.execute(sa.select(audit_book).where(audit_book.c.key == BOOK)).one_or_none()
    return row is None or hmac.compare_digest(row.mac, signer.book(row._asdict()))


def write_book(tx: Tx, signer: Signer, row: Any, now: int, **changed: int) -> None:
    """Change the book and sign it. One that was not signed by us is never made good by that."""
    values = {name: getattr(row, name) for name in _BOOK} | changed
    if row.broken_at is None and not hmac.compare_digest(row.mac, signer.book(row._asdict())):
        values["broken_at"] = now
    values["mac"] = signer.book(values)
    tx.conn.execute(sa.update(audit_book).where(audit_book.c.key == row.key).values(values))


def _chained(head: Head, noted: Sequence[NewEntry | CreateRun]) -> list[Row]:
    """The rows, in the order in which they were noted."""
    key, hash_ = (head.chain_id << CHAIN_BITS) + head.seq, head.hash
    rows: list[Row] = []
    # Every triggered run pays for this: one caller's triggers of one job say the same but for
    # run and instant.
    known: dict[tuple[int, int], tuple[What, str]] = {}
    for item in noted:
        key += 1
        if isinstance(item, CreateRun):
            at, detail, pair = item.created_at, _of_run(item), (id(item.actor), id(item.job))
            found = known.get(pair)
            if found is None:
                what = _triggered(item)
                found = known[pair] = (what, canonical(what))
        else:
            at, detail, what = item.at, item.detail, _done(item)
            found = (what, canonical(what))
        hash_ = entry_hash(hash_, key, at, found[1], detail)
        rows.append((key, at, *found[0], detail, hash_))
    return rows


def _done(entry: NewEntry) -> What:
    who = entry.actor
    return (
        who.name, who.id, entry.operation, entry.resource_type, entry.resource_id,
        entry.resource_name, entry.group, entry.refused, who.peer, who.surface,
    )  # fmt: skip


def _triggered(run: CreateRun) -> What:
    """`job.triggered`: a principal fired this job."""
    who, job = run.actor, run.job
    return (
        who.name, who.id, "job.triggered", "job", job.id_text, job.name, job.group, False, who.peer,
        who.surface,
    )  # fmt: skip


def _of_run(run: CreateRun) -> bytes:
    """The run that it made; by hand too: canonical JSON, keys in order."""
    of = f'"rerun_of":"{to_text(run.rerun_of)}",' if run.rerun_of else ""
    return f'{{"details":{{{of}"run_id":"{to_text(run.id)}"}}}}'.encode()
