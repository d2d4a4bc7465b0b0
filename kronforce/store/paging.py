"""Pages by keyset: what every list query takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# Counting further costs more than anybody gains from the number.
COUNT_LIMIT = 10_000


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """`size` rows after the row whose sort key is `after` (None: from the start)."""

    size: int
    after: tuple[Any, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """Rows, the sort key to go on after (None: this was the last page), and the total."""

    items: list[T]
    next_after: tuple[Any, ...] | None
    total: int
    total_exact: bool
