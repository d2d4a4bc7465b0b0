"""Pages of the lists that are read most: prepared once for each combination of filters.

The same pages as `keyset.fetch_page` gives. Filters are named parameters; what changes a query's
text beyond that (a state, which partial indexes want as a literal) is said in `fixed`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

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
        # On SQLite the page comes as one value (numbers and text alone): each row that the driver
        # steps to is a turn of the GIL, which the loop takes and a page waits for.
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
        )
        if self._packed and tx.sqlite:
            rows = json.loads(rows[0][0])
        return page_of(
            [make(row) for row in rows],
            page,
            key,
            lambda: int(
                self._count(names, fixed).run(tx, **filters, kf_limit=COUNT_LIMIT + 1)[0][0]
            ),
        )

    def _page(self, names: frozenset[str], fixed: Hashable, *, after: bool) -> Prepared:
        def build(sqlite: bool) -> sa.Select[Any]:
            values = [
                sa.bindparam(f"after_{number}", type_=column.type)
                for number, column in enumerate(self._order)
            ]
            query = self._build(sqlite, names, fixed)
            query = in_order(query, self._order, self._newest_first, values if after else None)
            query = query.limit(_LIMIT).offset(sa.bindparam("kf_skip", type_=sa.Integer))
            return _in_one(query) if sqlite and self._packed else query

        return self._pages.setdefault((names, fixed, after), Prepared(build))

    def _count(self, names: frozenset[str], fixed: Hashable) -> Prepared:
        def build(sqlite: bool) -> sa.Select[Any]:
            return counted(self._build(sqlite, names, fixed), _LIMIT)

        return self._counts.setdefault((names, fixed), Prepared(build))


def _in_one(query: sa.Select[Any]) -> sa.Select[Any]:
    rows = query.subquery()
    return sa.select(sa.func.json_group_array(sa.func.json_array(*rows.c)))


_LIMIT: sa.BindParameter[int] = sa.bindparam("kf_limit", type_=sa.Integer)
