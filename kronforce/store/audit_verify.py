"""Checking the audit log: what was changed, taken out, put in or moved since it was written.

A page at a time, each in a transaction of its own, while entries are added and
retention cuts. A chain's row is read before its entries and after them: before,
it says how far they must reach at least; after, how far at most, and what
retention has cut meanwhile. A fault is told once where that can be: the walk
goes on with the hash that lets the next entry hold.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from kronforce.store.audit import CHAIN_BITS, CHAINS_MAX
from kronforce.store.audit_chain import BOOK, Signer, row_hash
from kronforce.store.database import Tx
from kronforce.store.tables import audit, audit_book, audit_chains

# Entries in one page: some 50 ms of a reader.
PAGE_ENTRIES = 5_000
# Faults told in all; whoever finds so many needs no longer list.
FAULTS_MAX = 100

CHANGED, MISSING, ADDED, CHECKPOINT = "changed", "missing", "added", "checkpoint"

# Where a check goes on: behind this entry of this chain.
Place = tuple[int, int]
START: Place = (0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A place where the log does not hold; chain 0 is the book of chains."""

    chain_id: int
    seq: int
    fault: str
    message: str


@dataclass(kw_only=True, slots=True)
class Checked:
    """What one page found, and where to go on (None: that was all)."""

    faults: list[Fault] = field(default_factory=list)
    entries: int = 0
    chains: int = 0
    # Entries that retention has cut, as far as this page's chains and the book say.
    cut: int = 0
    after: Place | None = None

    def wrong(self, chain_id: int, seq: int, fault: str, message: str) -> None:
        """Note a fault, as long as there is room."""
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(chain_id=chain_id, seq=seq, fault=fault, message=message))


def verify_page(tx: Tx, signer: Signer, after: Place, limit: int = PAGE_ENTRIES) -> Checked:
    """Check what comes after a place, at most `limit` entries of one chain."""
    found = Checked()
    if after == START:
        first = _check_book(tx, signer, found)
        found.after = _next_chain(tx, found, first - 1)
        return found
    chain_id, seq = after
    seen = _check_chain(tx, signer, found, chain_id, seq, limit)
    found.after = (chain_id, seen) if seen is not None else _next_chain(tx, found, chain_id)
    return found


def _check_book(tx: Tx, signer: Signer, found: Checked) -> int:
    """The number of the first chain."""
    # Chains first: the book that is read after them knows them.
    any_chain = tx.conn.scalar(sa.select(audit_chains.c.chain_id).limit(1)) is not None
    book = _book(tx)
    if book is None:
        if any_chain:
            found.wrong(0, 0, MISSING, "the book of chains is gone")
        return 1
    found.cut = book.cut
    if not hmac.compare_digest(book.mac, signer.book(book._asdict())):
        found.wrong(0, 0, CHECKPOINT, "the book of chains was changed, or signed with another key")
    elif book.broken_at is not None:
        found.wrong(0, 0, CHECKPOINT, "the book of chains was once found changed")
    first = max(1, min(int(book.first_chain), CHAINS_MAX - 1))
    _check_outside(tx, found, first)
    return first


def _check_outside(tx: Tx, found: Checked, first: int) -> None:
    """Nothing may stand before the first chain of the book, nor where no chain can be."""
    early = sa.select(audit.c.key).where(audit.c.key < first << CHAIN_BITS)
    key = tx.conn.scalar(early.order_by(audit.c.key).limit(1))
    if key is not None:
        chain_id, seq = key >> CHAIN_BITS, key & _SEQ
        found.wrong(chain_id, seq, ADDED, f"entry {seq} of chain {chain_id}, which is cut")
    number = audit_chains.c.chain_id
    odd = sa.select(number).where((number < first) | (number >= CHAINS_MAX))
    for chain_id in tx.conn.scalars(odd.order_by(number).limit(FAULTS_MAX)):
        found.wrong(chain_id, 0, ADDED, f"chain {chain_id}, which is not in the book")


_SEQ = (1 << CHAIN_BITS) - 1


def _next_chain(tx: Tx, found: Checked, chain_id: int) -> Place | None:
    """The beginning of the next chain that is there; those that should be and are not, are told."""
    book = _book(tx)
    following = _following(tx, chain_id)
    if book is not None:
        # Read again: retention may have dropped some between the two.
        last = min(int(book.last_chain), (following or CHAINS_MAX) - 1)
        first = max(chain_id + 1, int((_book(tx) or book).first_chain))
        if first <= last:
            which = f"chain {first} is" if first == last else f"chains {first} to {last} are"
            found.wrong(first, 0, MISSING, f"{which} gone")
    return None if following is None else (following, 0)


def _following(tx: Tx, chain_id: int) -> int | None:
    """The next chain of which there is a row or an entry."""
    number = audit_chains.c.chain_id
    query = sa.select(sa.func.min(number)).where(number > chain_id, number < CHAINS_MAX)
    found = [tx.conn.scalar(query)]
    if chain_id + 1 < CHAINS_MAX:
        beyond = audit.c.key >= (chain_id + 1) << CHAIN_BITS
        key = tx.conn.scalar(sa.select(sa.func.min(audit.c.key)).where(beyond))
        found.append(None if key is None else key >> CHAIN_BITS)
    return min((number for number in found if number is not None), default=None)


def _check_chain(
    tx: Tx, signer: Signer, found: Checked, chain_id: int, seq: int, limit: int
) -> int | None:
    """One page of a chain: the last entry seen, None at its end."""
    before = _chain(tx, chain_id)
    rows = _entries(tx, chain_id, seq, limit + 1)
    chain = _chain(tx, chain_id)
    if chain is None or before is None:
        _no_chain(tx, found, chain_id, rows)
        return None
    if seq == 0:
        _check_bounds(tx, signer, found, chain)
    full = len(rows) > limit
    walk = _Walk(found, chain_id)
    first = int(chain.first_seq)
    if seq < first:
        # At its beginning, or retention has overtaken this check.
        walk.last, walk.hash = first - 1, bytes(chain.first_hash)
        rows = [row for row in rows if row.key & _SEQ >= first]
    elif rows and rows[0].key & _SEQ == seq:
        # The page before has checked it.
        walk.last, walk.hash, rows = seq, bytes(rows[0].hash), rows[1:]
    else:
        walk.last = seq - 1
    for row in rows:
        walk.step(row)
        if walk.last == before.last_seq and bytes(row.hash) != before.last_hash:
            found.wrong(chain_id, walk.last, CHANGED, f"entry {walk.last} of chain {chain_id} is "
                        "not the one that the chain's end was signed for")  # fmt: skip
    if full:
        return walk.last
    walk.end(int(before.last_seq), int(chain.last_seq))
    return None


def _check_bounds(tx: Tx, signer: Signer, found: Checked, chain: Any) -> None:
    chain_id, first = int(chain.chain_id), int(chain.first_seq)
    found.chains += 1
    found.cut += first - 1
    if not hmac.compare_digest(chain.first_mac, signer.first(chain)):
        found.wrong(chain_id, first, CHECKPOINT, f"the beginning of chain {chain_id} was changed, "
                    "or signed with another key")  # fmt: skip
    last = signer.last(chain_id, chain.last_seq, bytes(chain.last_hash))
    if not hmac.compare_digest(chain.last_mac, last):
        found.wrong(chain_id, chain.last_seq, CHECKPOINT, f"the end of chain {chain_id} was "
                    "changed, or signed with another key")  # fmt: skip
    base = chain_id << CHAIN_BITS
    query = sa.select(audit.c.key).where(audit.c.key >= base, audit.c.key < base + min(first, _SEQ))
    extra = tx.conn.scalar(query.order_by(audit.c.key).limit(1))
    if extra is not None:
        seq = extra & _SEQ
        found.wrong(chain_id, seq, ADDED, f"entry {seq} of chain {chain_id}, before its beginning")


def _no_chain(tx: Tx, found: Checked, chain_id: int, rows: Sequence[Any]) -> None:
    book = _book(tx)
    if book is not None and chain_id < book.first_chain:
        # Retention has dropped it meanwhile; nothing of it may be left, which the start checks.
        return
    if not rows:
        return
    seq = rows[0].key & _SEQ
    if book is not None and chain_id <= book.last_chain:
        found.wrong(chain_id, seq, MISSING, f"what chain {chain_id} was signed for is gone: its "
                    "entries cannot be checked")  # fmt: skip
    else:
        found.wrong(chain_id, seq, ADDED, f"entry {seq} of chain {chain_id}, which is not there")


class _Walk:
    """Goes along a chain's entries, one by one."""

    def __init__(self, found: Checked, chain_id: int) -> None:
        self._found = found
        self._chain_id = chain_id
        self.last = 0
        # The hash of the entry before as it is stored, and as it should be; None: not known.
        self.hash: bytes | None = None
        self._should: bytes | None = None

    def step(self, row: Any) -> None:
        seq, stored = row.key & _SEQ, bytes(row.hash)
        self._found.entries += 1
        if seq != self.last + 1:
            self._missing(self.last + 1, seq - 1)
            self.hash = self._should = None
        computed = [row_hash(before, row) for before in (self.hash, self._should) if before]
        self._should = None
        if computed and stored not in computed:
            self._found.wrong(self._chain_id, seq, CHANGED,
                              f"entry {seq} of chain {self._chain_id} was changed")  # fmt: skip
            self._should = computed[-1]
        self.last, self.hash = seq, stored

    def end(self, least: int, most: int) -> None:
        """The last entry was seen: there must be so many, and may be so many."""
        if self.last < least:
            self._missing(self.last + 1, least)
        if self.last > most:
            self._found.wrong(
                self._chain_id,
                self.last,
                ADDED,
                f"entry {self.last} of chain {self._chain_id}, behind its signed end",
            )

    def _missing(self, first: int, last: int) -> None:
        which = f"entry {first} is" if first == last else f"entries {first} to {last} are"
        self._found.wrong(self._chain_id, first, MISSING,
                          f"{which} missing from chain {self._chain_id}")  # fmt: skip


def _entries(tx: Tx, chain_id: int, seq: int, limit: int) -> list[Any]:
    """From the entry `seq` on, itself included."""
    base = chain_id << CHAIN_BITS
    query = (
        sa.select(audit)
        .where(audit.c.key >= base + seq, audit.c.key <= base + _SEQ)
        .order_by(audit.c.key)
        .limit(limit)
    )
    return list(tx.conn.execute(query))


def _chain(tx: Tx, chain_id: int) -> Any:
    query = sa.select(audit_chains).where(audit_chains.c.chain_id == chain_id)
    return tx.conn.execute(query).one_or_none()


def _book(tx: Tx) -> Any:
    return tx.conn.execute(sa.select(audit_book).where(audit_book.c.key == BOOK)).one_or_none()
