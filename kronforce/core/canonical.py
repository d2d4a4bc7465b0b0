"""One hash for one meaning: SHA-256 over canonical JSON.

Used for `request_id` (same id, same hash: the same reply) and for approvals.
Keys are sorted, nothing is padded, and numbers are written by value: 1 and 1.0
are the same number to a caller who sends JSON. Never computed over protobuf
bytes, whose order no specification promises.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

# Beyond this, JSON readers disagree about integers, so a float keeps its own form.
_EXACT_INTEGER = 2.0**53


# Made once: json.dumps makes one anew for each call that says how it wants it.
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def canonical_json(value: Any) -> bytes:
    """The canonical UTF-8 form of plain data; bytes become base64 text.

    Raises TypeError for anything that is not plain, ValueError for NaN and infinities.
    """
    plain = _normalise(value)
    return _ENCODER.encode(plain).encode("utf-8", "surrogatepass")


def canonical_hash(value: Any) -> bytes:
    """The 32 bytes by which two requests are the same or not."""
    return hashlib.sha256(canonical_json(value)).digest()


def _normalise(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _EXACT_INTEGER else value
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        return {_key(key): _normalise(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normalise(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} has no canonical form")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"keys are text, not {type(key).__name__}")
    return key
