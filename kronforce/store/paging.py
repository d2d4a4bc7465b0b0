"""Pages by keyset, or by number near the start: what every list query takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# Counting further costs more than anybody gains from the number.
COUNT_LIMIT = 10_000


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """`size` rows after the row whose sort key is `after` (None: from the start).

    `skip` leaves out rows from the start, for pages by number; never together with `after`.
    """

    size: int
    after: tuple[Any, ...] | None = None
    skip: int = 0


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """Rows, the sort key to go on after (None: this was the last page), and the total."""

    items: list[T]
    next_after: tuple[Any, ...] | None
    total: int
    total_exact: bool
