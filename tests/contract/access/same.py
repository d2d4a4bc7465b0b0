"""What two answers have in common that were given to the same call: without what is new each time.

Of calls that change something, ids, instants, secrets and the numbers in made names become words;
what moves by itself is left out. What is left must be equal, whichever way the call came.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from kronforce_client import dialect

_WORDS = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"), "<instant>"),
    (re.compile(r"kf[ajsw]?_[A-Za-z0-9_.-]{8,}"), "<secret>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<hash>"),
    # Names that `World.name` makes.
    (re.compile(r"\b(web|hidden|a|an)[ _]([a-z ]+)[ _]\d+\b"), r"\1 \2 #"),
)

# What moves by itself, also where nobody changes anything.
_TIMELY = frozenset({"disk_free_bytes", "last_used_at", "output_bytes", "store_bytes", "until"})
# What each change moves.
_COUNTED = frozenset({"etag", "key_id", "prefix", "revision", "rewritten"})


def plain(text: str) -> str:
    """Text without what is new each time."""
    for pattern, word in _WORDS:
        text = pattern.sub(word, text)
    return text


def read_again(reply: Message) -> Any:
    """The reply to a call that can be repeated."""
    return _without(dialect.render(reply), _TIMELY, lambda text: text)


def done_again(reply: Message) -> Any:
    """The reply to a call that changes something, each time something of its own."""
    return _without(dialect.render(reply), _TIMELY | _COUNTED, plain)


def _without(value: Any, names: frozenset[str], text: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(each, names, text) for key, each in value.items() if key not in names}
    if isinstance(value, list):
        return [_without(each, names, text) for each in value]
    return text(value) if isinstance(value, str) else value
