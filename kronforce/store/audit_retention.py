"""Forgetting old audit entries: whole prefixes of chains, and the signed beginning moves along.

Bounded: a call takes at most one batch of one chain. What it takes away it has
checked; a chain that does not hold stays as it is, as evidence. A chain of
which nothing is left is dropped with its row, from the oldest on, and the book
says how many entries that were.
"""

from __future__ import annotations

import hmac
from typing import Any

import sqlalchemy as sa

from kronforce.store.audit import CHAIN_BITS
from kronforce.store.audit_chain import BOOK, Signer, row_hash, write_book
from kronforce.store.database import Tx
from kronforce.store.tables import audit, audit_book, audit_chains

# What one transaction removes: some 20 ms of the one writer of SQLite.
CUT_BATCH = 1_000
# Chains looked at in one call: those that do not hold stand in the way of others no further.
CHAINS = 100


def cut(tx: Tx, cutoff: int, *, signer: Signer, now: int, limit: int = CUT_BATCH) -> int:
    """Remove the oldest entries before the cutoff from one chain; how many went."""
    gone = 0
    for chain in _with_old_entries(tx, cutoff):
        if gone := _cut_chain(tx, signer, chain, cutoff, limit):
            break
    _drop_empty(tx, signer, now)
    return gone


def _with_old_entries(tx: Tx, cutoff: int) -> list[Any]:
    """Chains whose first entry lies before the cutoff."""
    # Bits, not sums: these overflow on a number that somebody has put there.
    first = audit_chains.c.chain_id.op("<<")(sa.literal_column(str(CHAIN_BITS))).op("|")(
        audit_chains.c.first_seq
    )
    query = (
        sa.select(audit_chains)
        .select_from(audit_chains.join(audit, audit.c.key == first))
        .where(audit.c.at < cutoff)
        .order_by(audit_chains.c.chain_id)
        .limit(CHAINS)
    )
    return list(tx.conn.execute(query))


def _cut_chain(tx: Tx, signer: Signer, chain: Any, cutoff: int, limit: int) -> int:
    if not hmac.compare_digest(chain.first_mac, signer.first(chain)):
        return 0
    start = (int(chain.chain_id) << CHAIN_BITS) | int(chain.first_seq)
    query = sa.select(audit).where(audit.c.key >= start).order_by(audit.c.key).limit(limit)
    key, hash_ = start, bytes(chain.first_hash)
    for row in tx.conn.execute(query).all():
        holds = row.key == key and row_hash(hash_, row) == bytes(row.hash)
        if row.at >= cutoff or not holds:
            break
        key, hash_ = key + 1, bytes(row.hash)
    gone = key - start
    if gone:
        tx.conn.execute(sa.delete(audit).where(audit.c.key >= start, audit.c.key < key))
        _move_first(tx, signer, chain, int(chain.first_seq) + gone, hash_)
    return gone


def _move_first(tx: Tx, signer: Signer, chain: Any, first_seq: int, first_hash: bytes) -> None:
    mac = signer.beginning(
        chain.chain_id, chain.controller, chain.started_at, first_seq, first_hash
    )
    tx.conn.execute(
        sa.update(audit_chains)
        .where(audit_chains.c.chain_id == chain.chain_id)
        .values(first_seq=first_seq, first_hash=first_hash, first_mac=mac)
    )


def _drop_empty(tx: Tx, signer: Signer, now: int) -> None:
    """A controller that still writes one of these begins another chain."""
    book = _book(tx)
    if book is None:
        return
    first, cut_before = int(book.first_chain), int(book.cut)
    query = sa.select(audit_chains).order_by(audit_chains.c.chain_id).limit(CHAINS)
    for chain in tx.conn.execute(query).all():
        empty = chain.first_seq == chain.last_seq + 1
        if chain.chain_id != first or not empty or first >= book.last_chain:
            break
        if not _holds(signer, chain):
            break
        tx.conn.execute(sa.delete(audit_chains).where(audit_chains.c.chain_id == first))
        first, cut_before = first + 1, cut_before + int(chain.last_seq)
    if first != book.first_chain:
        write_book(tx, signer, book, now, first_chain=first, cut=cut_before)


def _holds(signer: Signer, chain: Any) -> bool:
    last = signer.last(chain.chain_id, chain.last_seq, bytes(chain.last_hash))
    return hmac.compare_digest(chain.first_mac, signer.first(chain)) and hmac.compare_digest(
        chain.last_mac, last
    )


def _book(tx: Tx) -> Any:
    return tx.conn.execute(
        sa.select(audit_book).where(audit_book.c.key == BOOK).with_for_update()
    ).one_or_none()
