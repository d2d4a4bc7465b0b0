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
    after = None
    if page.after is not None:
        pairs = zip(page.after, order, strict=True)
        after = [sa.literal(value, column.type) for value, column in pairs]
    wanted = in_order(query, order, newest_first, after).limit(page.size + 1)
    if page.skip:
        wanted = wanted.offset(page.skip)
    items = [make(row) for row in tx.conn.execute(wanted).all()]
    return page_of(items, page, key, lambda: count(tx, query))


def page_of(
    items: list[T],
    page: PageRequest,
    key: Callable[[T], tuple[Any, ...]],
    count_all: Callable[[], int],
) -> Page[T]:
    """The page, of its items and one beyond it, if there is one."""
    more = len(items) > page.size
    items = items[: page.size]
    # A last page that follows nothing, or what was counted to get there, has counted everything.
    whole = page.after is None and not more and (items or not page.skip)
    total = page.skip + len(items) if whole else count_all()
    return Page(
        items=items,
        next_after=key(items[-1]) if more else None,
        total=min(total, COUNT_LIMIT),
        total_exact=total <= COUNT_LIMIT,
    )


def count(tx: Tx, query: sa.Select[Any]) -> int:
    """How many rows match, counted to one beyond `COUNT_LIMIT`."""
    return int(tx.conn.scalar(counted(query, COUNT_LIMIT + 1)) or 0)


def counted(query: sa.Select[Any], limit: Any) -> sa.Select[Any]:
    """The query that counts, up to a limit."""
    one = query.with_only_columns(sa.literal(1).label("one"), maintain_column_froms=True)
    return sa.select(sa.func.count()).select_from(one.limit(limit).subquery())


def in_order(
    query: sa.Select[Any],
    order: Order,
    newest_first: bool,
    after: Sequence[sa.ColumnElement[Any]] | None,
) -> sa.Select[Any]:
    """The query in its order, from the row after this one on."""
    if after is not None:
        here, there = sa.tuple_(*order), sa.tuple_(*after)
        query = query.where(here < there if newest_first else here > there)
    return query.order_by(*(column.desc() if newest_first else column for column in order))
