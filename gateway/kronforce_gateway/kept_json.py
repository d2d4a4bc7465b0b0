"""Encoded JSON of what no longer changes, kept by the rule in the contract (`json_cache`).

A job's definition under one etag and an ended execution are encoded once; what changes all the same
(a job's next fire, its last run) is encoded each time and put behind it. Nothing is ever stale:
what the content depends on is in the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, cast

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from kronforce.v1 import options_pb2
from kronforce_client.dialect import render, writer_of_some

# Some 100 pages of jobs and of executions, of one type; the oldest go first.
MAX_KEPT = 20_000
# What is larger is rare, and would push the rest out of the memory that this may use (40 MB).
MAX_BYTES = 4 << 10

Encode = Callable[[Any], Any]

_ENCODERS: dict[str, Encode] = {}


def encoder_of(descriptor: Descriptor) -> Encode:
    """What makes of a message what orjson encodes: plain data, or a fragment that is encoded."""
    encode = _ENCODERS.get(descriptor.full_name)
    if encode is None:
        rule = _rule(descriptor)
        encode = render if rule is None else _Kept(descriptor, rule).encode
        _ENCODERS[descriptor.full_name] = encode
    return encode


def encode(message: Message) -> Any:
    """The same for one message."""
    return encoder_of(cast("Descriptor", message.DESCRIPTOR))(message)


def _rule(descriptor: Descriptor) -> options_pb2.JsonCache | None:
    options: Any = descriptor.GetOptions()
    if not options.HasExtension(options_pb2.json_cache):
        return None
    rule: options_pb2.JsonCache = options.Extensions[options_pb2.json_cache]
    return rule


class _Kept:
    """One type's."""

    def __init__(self, descriptor: Descriptor, rule: options_pb2.JsonCache) -> None:
        live = frozenset(rule.live)
        self._settled_of = _settled(descriptor, rule.settled)
        # Plain values that may change are cheaper to look up than to write.
        plain = all(_is_plain(descriptor.fields_by_name[name]) for name in live)
        self._key = attrgetter(*rule.key, *(sorted(live) if plain else ()))
        self._settled = writer_of_some(descriptor, lambda name: plain or name not in live)
        self._live = None if plain else writer_of_some(descriptor, lambda name: name in live)
        self._kept: dict[tuple[Any, ...], orjson.Fragment | bytes] = {}

    def encode(self, message: Any) -> Any:
        settled = self._settled_of(message)
        if not settled:
            return render(message)
        key = (settled, *self._key(message))
        kept = self._kept.get(key)
        if kept is None:
            kept = self._made(key, message)
        return kept if self._live is None else self._with_live(kept, self._live(message))

    def _made(self, key: tuple[Any, ...], message: Any) -> Any:
        text = orjson.dumps(self._settled(message))
        # A copy in either case: what orjson returns keeps some 8 KB of its buffer for itself.
        kept = orjson.Fragment(_copy(text)) if self._live is None else text[:-1]
        if len(text) <= MAX_BYTES:
            self._keep(key, kept)
        return kept

    def _with_live(self, head: Any, live: Mapping[str, Any]) -> orjson.Fragment:
        tail = orjson.dumps(live)
        return orjson.Fragment(head + b"," + tail[1:] if len(tail) > 2 else head + b"}")

    def _keep(self, key: tuple[Any, ...], kept: orjson.Fragment | bytes) -> None:
        if len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = kept


def _copy(text: bytes) -> bytes:
    """The same bytes in no more memory than they need; `bytes(text)` would be `text` itself."""
    return bytes(memoryview(text))


def _is_plain(field: FieldDescriptor) -> bool:
    """Whether its value says everything, as no presence and no message's fields do."""
    return field.message_type is None and not field.is_repeated and not field.has_presence


def _settled(descriptor: Descriptor, name: str) -> Callable[[Any], Any]:
    """The value that the key holds; nothing while the message may still change."""
    if descriptor.fields_by_name[name].message_type is None:
        return attrgetter(name)
    # An instant, which stands for itself by whether it is there.
    return lambda message: message.HasField(name)
