"""Waiting until committed events can be followed."""

import time

import sqlalchemy as sa

from kronforce.store import commit_order, tables
from kronforce.store.database import reading


def settle(store):
    """Wait until what is committed can be followed.

    Transactions of other tests hold that back too: they are of the same PostgreSQL cluster.
    """
    deadline = time.monotonic() + 60
    while True:
        with reading(store.main) as tx:
            place = commit_order.position_column(tx)
            newest = tx.conn.scalar(sa.select(sa.func.max(place)).select_from(tables.events))
            if (newest or 0) <= commit_order.horizon(tx)[0]:
                return
        assert time.monotonic() < deadline
        time.sleep(0.01)
