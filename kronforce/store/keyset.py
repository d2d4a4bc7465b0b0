"""Running a list query as a page: by keyset, or by a bounded offset, with a bounded count.

A query comes filtered and unordered; the order's columns must be unique
together, never null, and all go in one direction, so that "after this row" is
one comparison of tuples, which an index serves. An offset costs what it leaves
out, so that `PageRequest.skip` is for pages near the start alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from kronforce.store.database import Tx
from kronforce.store.paging import COUNT_LIMIT, Page, PageRequest

T = TypeVar("T")

Order = Sequence[sa.ColumnElement[Any]]


def fetch_page(
    tx: Tx,
    query: sa.Select[Any],
    *,
    order: Order,
    newest_first: bool,
    page: PageRequest,
    make: Callable[[sa.Row[Any]], T],
    key: Callable[[T], tuple[Any, ...]],
) -> Page[T]:
    """The page of `query`; `key` gives an item's values of the `order` columns."""
    wanted = _ordered(query, order, newest_first, page.after).limit(page.size + 1)
    if page.skip:
        wanted = wanted.offset(page.skip)
    items = [make(row) for row in tx.conn.execute(wanted).all()]
    more = len(items) > page.size
    items = items[: page.size]
    # A last page that follows nothing, or what was counted to get there, has counted everything.
    counted = page.after is None and not more and (items or not page.skip)
    known = page.skip + len(items) if counted else None
    total = count(tx, query) if known is None else known
    return Page(
        items=items,
        next_after=key(items[-1]) if more else None,
        total=min(total, COUNT_LIMIT),
        total_exact=total <= COUNT_LIMIT,
    )


def count(tx: Tx, query: sa.Select[Any]) -> int:
    """How many rows match, counted to one beyond `COUNT_LIMIT`."""
    one = query.with_only_columns(sa.literal(1).label("one"), maintain_column_froms=True)
    some = one.limit(COUNT_LIMIT + 1).subquery()
    return int(tx.conn.scalar(sa.select(sa.func.count()).select_from(some)) or 0)


def _ordered(
    query: sa.Select[Any], order: Order, newest_first: bool, after: tuple[Any, ...] | None
) -> sa.Select[Any]:
    if after is not None:
        here = sa.tuple_(*order)
        there = sa.tuple_(*(sa.literal(v, c.type) for v, c in zip(after, order, strict=True)))
        query = query.where(here < there if newest_first else here > there)
    return query.order_by(*(column.desc() if newest_first else column for column in order))
