"""Pages of the lists that are read most: prepared once for each combination of filters.

The same pages as `keyset.fetch_page` gives. Filters are named parameters; what changes a query's
text beyond that (a state, which partial indexes want as a literal) is said in `fixed`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa

from kronforce.store.database import Tx
from kronforce.store.keyset import Order, counted, in_order, page_of
from kronforce.store.paging import COUNT_LIMIT, Page, PageRequest
from kronforce.store.prepared import Prepared

T = TypeVar("T")

# Gives the query, filtered by the parameters of these names, unordered.
Build = Callable[[bool, frozenset[str], Any], "sa.Select[Any]"]


class PreparedPages:
    """One list."""

    def __init__(
        self, build: Build, *, order: Order, newest_first: bool, packed: bool = False
    ) -> None:
        # On SQLite page and count come as one row (of numbers and text alone): each row that the
        # driver steps to is a turn of the GIL, which the loop takes and a page waits for.
        self._packed = packed
        self._build = build
        self._order = order
        self._newest_first = newest_first
        self._pages: dict[Hashable, Prepared] = {}
        self._counts: dict[Hashable, Prepared] = {}

    def fetch(
        self,
        tx: Tx,
        filters: Mapping[str, Any],
        page: PageRequest,
        *,
        make: Callable[[Sequence[Any]], T],
        key: Callable[[T], tuple[Any, ...]],
        fixed: Hashable = None,
    ) -> Page[T]:
        """The page; `key` gives an item's values of the order's columns."""
        names = frozenset(filters)
        rows = self._page(names, fixed, after=page.after is not None).run(
            tx,
            **filters,
            **{f"after_{number}": value for number, value in enumerate(page.after or ())},
            kf_limit=page.size + 1,
            kf_skip=page.skip,
            kf_count=COUNT_LIMIT + 1,
        )
        if self._packed and tx.sqlite:
            [(packed, total)] = rows
            return page_of([make(row) for row in orjson.loads(packed)], page, key, lambda: total)

        def count() -> int:
            found = self._count(names, fixed).run(tx, **filters, kf_count=COUNT_LIMIT + 1)
            return int(found[0][0])

        return page_of([make(row) for row in rows], page, key, count)

    def _page(self, names: frozenset[str], fixed: Hashable, *, after: bool) -> Prepared:
        def build(sqlite: bool) -> sa.Select[Any]:
            values = [
                sa.bindparam(f"after_{number}", type_=column.type)
                for number, column in enumerate(self._order)
            ]
            whole = self._build(sqlite, names, fixed)
            query = in_order(whole, self._order, self._newest_first, values if after else None)
            query = query.limit(_LIMIT).offset(sa.bindparam("kf_skip", type_=sa.Integer))
            return _packed(query, whole) if sqlite and self._packed else query

        return self._pages.setdefault((names, fixed, after), Prepared(build))

    def _count(self, names: frozenset[str], fixed: Hashable) -> Prepared:
        def build(sqlite: bool) -> sa.Select[Any]:
            return counted(self._build(sqlite, names, fixed), _COUNT)

        return self._counts.setdefault((names, fixed), Prepared(build))


def _packed(page: sa.Select[Any], whole: sa.Select[Any]) -> sa.Select[Any]:
    """The page's rows as one JSON text, and the count."""
    rows = page.subquery()
    packed = sa.select(sa.func.json_group_array(sa.func.json_array(*rows.c))).scalar_subquery()
    return sa.select(packed, counted(whole, _COUNT).scalar_subquery())


_LIMIT: sa.BindParameter[int] = sa.bindparam("kf_limit", type_=sa.Integer)
_COUNT: sa.BindParameter[int] = sa.bindparam("kf_count", type_=sa.Integer)
