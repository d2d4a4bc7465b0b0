"""A change that is made to see whether it may be, and taken back: nothing of it is committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from kronforce.store.database import Tx

P = ParamSpec("P")
T = TypeVar("T")


def tried(tx: Tx, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kw: P.kwargs) -> T:
    """What `fn(tx, …)` gives, or the error that refuses it; what it wrote and noted is undone."""
    savepoint = tx.conn.begin_nested()
    noted = len(tx.noted)
    try:
        return fn(tx, *args, **kw)
    finally:
        savepoint.rollback()
        del tx.noted[noted:]
