"""A value that must not be printed by accident."""

from __future__ import annotations

import hmac

MASK = "••••••••"


class Secret:
    """Text that shows itself only when asked by name; equal in constant time, never hashable."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself: for the reply that shows it once, or a file only the owner reads."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment] # a set of secrets would compare by timing

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled; reveal it where it has to leave the process")
