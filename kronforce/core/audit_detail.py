"""What an audit entry says beside its columns: before, after and details, masked and bounded.

Pure. The form is canonical JSON, since the entry's hash covers it and two entries of the same
thing must compare line by line. A value is masked by the name that it stands under, whatever
message it comes from; a text that only names a variable stays, because it says nothing. What is
too long is cut and says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from kronforce.core.canonical import canonical_json

MASK = "••••••••"

# One text: a script's beginning shows what changed, its megabytes do not belong into a log.
TEXT_MAX = 2_000
# Before and after together with the details stay below 80 KiB an entry.
STATE_MAX = 32 << 10
DETAILS_MAX = 16 << 10

_TELLING = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|credential|authorization|api[_-]?key|private[_-]?key"
    r"|client_key|cookie",
    re.IGNORECASE,
)
_PLACEHOLDERS = re.compile(r"(\s*\{\{[^{}]*\}\}\s*)+")


def audit_detail(
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    details: Mapping[str, Any] | None,
) -> bytes:
    """The canonical JSON of all three, redacted; empty where there is nothing to say."""
    found = {
        "before": _bounded(before, STATE_MAX),
        "after": _bounded(after, STATE_MAX),
        "details": _bounded(details, DETAILS_MAX),
    }
    said = {name: value for name, value in found.items() if value is not None}
    return canonical_json(said) if said else b""


def redacted(value: Any, *, telling: bool = False) -> Any:
    """The same data without the texts that stand under a telling name."""
    if isinstance(value, str):
        return MASK if telling and value and not _PLACEHOLDERS.fullmatch(value) else _cut(value)
    if isinstance(value, Mapping):
        return {key: redacted(item, telling=telling or _tells(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item, telling=telling) for item in value]
    return value


def _tells(key: object) -> bool:
    return isinstance(key, str) and _TELLING.search(key) is not None


def _cut(text: str) -> str:
    if len(text) <= TEXT_MAX:
        return text
    rest = len(text) - TEXT_MAX
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[:TEXT_MAX]}… ({rest:,} more characters; SHA-256 of all: {digest})"


def _bounded(state: Mapping[str, Any] | None, limit: int) -> Any:
    if state is None:
        return None
    kept = redacted(state)
    size = len(content := canonical_json(kept))
    if size <= limit:
        return kept
    return {"truncated": True, "bytes": size, "sha256": hashlib.sha256(content).hexdigest()}
