"""Frames of a streaming method as events.

By the rule an item of a frame is an event: its name is that of the arm of its oneof, or of its
message; its data is its JSON form. What can be resumed has an id on each event, so that a reader
that was cut anywhere misses nothing and sees nothing twice. Output is text (`text` in place of
`data`) unless the reader wants base64. An encoder belongs to one stream.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

import orjson
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from kronforce.v1.execution_pb2 import OutputChunk, OutputStream
from kronforce_client.dialect import render
from kronforce_gateway.live import wire
from kronforce_gateway.live.text import Key, Texts

STDOUT, STDERR = OutputStream.OUTPUT_STREAM_STDOUT, OutputStream.OUTPUT_STREAM_STDERR
_WORDS: dict[int, str] = {STDOUT: "stdout", STDERR: "stderr"}

# The end of an id after which nothing comes: a reader that comes back with it is sent away.
ENDED = "!"

# Executions whose place an id tells: an id is sent with each event, and headers have limits.
# Output of further ones begins anew after a cut; each chunk names its offset.
MAX_PLACES = 64
# Executions whose place is remembered, for when they are among those; a stream of all runs may
# last for months. The one that has been silent for longest goes first.
MAX_REMEMBERED = 1_000


# Of output: the ends of both streams.
Place = tuple[int, int]


class UnknownPlace(Exception):
    """A `Last-Event-ID` that was not made here."""


class Encoder(Protocol):
    """One stream's."""

    def begin(self, request: Any, last_id: str) -> None:
        """Have the request go on after an event, if there is one. Raises UnknownPlace."""
        ...

    def frame(self, reply: Any) -> list[bytes]:
        """The events of a frame."""
        ...

    def rest(self) -> list[bytes]:
        """The last events, when the stream has ended."""
        ...

    def last_id(self) -> str:
        """Where a reader stands that has everything; empty: there is no such place."""
        ...


class ByRule:
    """Any streaming method: events without ids."""

    def __init__(self, method: MethodDescriptor) -> None:
        items = [f for f in method.output_type.fields if f.is_repeated and f.message_type]
        self._items = items[0].name if len(items) == 1 else ""
        self._name_of = _namer(items[0] if len(items) == 1 else None, method)

    def begin(self, request: Any, last_id: str) -> None:
        """There are no places; the stream begins anew."""

    def frame(self, reply: Any) -> list[bytes]:
        items = getattr(reply, self._items) if self._items else (reply,)
        return [wire.event(self._name_of(item), orjson.dumps(render(item))) for item in items]

    def rest(self) -> list[bytes]:
        return []

    def last_id(self) -> str:
        return ""


def _namer(items: FieldDescriptor | None, method: MethodDescriptor) -> Callable[[Any], str]:
    kind = items.message_type if items is not None else None
    kind = kind if kind is not None else method.output_type
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.name).lower()
    if len(kind.oneofs) != 1:
        return lambda _item: word
    oneof = kind.oneofs[0].name
    return lambda item: item.WhichOneof(oneof) or word


class Events:
    """`WatchEvents`: an event's id is its cursor."""

    def __init__(self) -> None:
        self._cursor = ""

    def begin(self, request: Any, last_id: str) -> None:
        request.cursor = self._cursor = last_id or request.cursor

    def frame(self, reply: Any) -> list[bytes]:
        made = [
            wire.event("event", orjson.dumps(render(event)), event.cursor) for event in reply.events
        ]
        passed = reply.cursor != (reply.events[-1].cursor if reply.events else self._cursor)
        self._cursor = reply.cursor
        return [*made, wire.bookmark(reply.cursor)] if passed else made

    def rest(self) -> list[bytes]:
        return []

    def last_id(self) -> str:
        return self._cursor


class Output:
    """`ReadOutput`: an id is the ends of both streams, `1200-34`."""

    _PLACE = re.compile(r"(\d{1,18})-(\d{1,18})", re.ASCII)

    def __init__(self, *, base64: bool = False, start: Place = (0, 0)) -> None:
        self.base64 = base64
        self._texts = None if base64 else Texts()
        self.places: dict[int, int] = {STDOUT: start[0], STDERR: start[1]}

    @property
    def place(self) -> Place:
        """Behind what was made so far."""
        return self.places[STDOUT], self.places[STDERR]

    def begin(self, request: Any, last_id: str) -> None:
        if last_id:
            found = self._PLACE.fullmatch(last_id)
            if found is None:
                raise UnknownPlace
            request.stdout_offset, request.stderr_offset = int(found[1]), int(found[2])
        if request.stream == STDOUT:
            request.stderr_offset = 0
        elif request.stream == STDERR:
            request.stdout_offset = 0
        self.places = {STDOUT: request.stdout_offset, STDERR: request.stderr_offset}

    def frame(self, reply: Any) -> list[bytes]:
        return [made for chunk in reply.chunks for made in self.chunk(chunk)]

    def chunk(self, chunk: OutputChunk) -> list[bytes]:
        """The event of one chunk; none while it is but the beginning of a character."""
        made: list[bytes] = []
        for data, end in chunk_data(self._texts, ("", chunk.stream), chunk):
            self.places[chunk.stream] = end
            made.append(wire.event("output", orjson.dumps(data), self.last_id()))
        return made

    def rest(self) -> list[bytes]:
        made: list[bytes] = []
        for stream in _WORDS:
            for data, end in held_data(self._texts, ("", stream)):
                self.places[stream] = end
                made.append(wire.event("output", orjson.dumps(data), self.last_id()))
        return made

    def last_id(self) -> str:
        return f"{self.places[STDOUT]}-{self.places[STDERR]}"


class Runs:
    """`WatchRuns` and `RunJob`: an id is the places of each execution's output and the cursor."""

    _PLACE = re.compile(r"([^.~]+)\.(\d{1,18})\.(\d{1,18})", re.ASCII)

    def __init__(self, *, base64: bool = False) -> None:
        self._texts = None if base64 else Texts()
        self._cursor = ""
        # By execution id, the latest last.
        self._places: dict[str, dict[int, int]] = {}
        # Whose run it is, of what is held back.
        self._of: dict[Key, str] = {}

    def begin(self, request: Any, last_id: str) -> None:
        if not last_id:
            return
        places, mark, cursor = last_id.rpartition("~~")
        if not mark or "cursor" not in request.DESCRIPTOR.fields_by_name:
            raise UnknownPlace
        request.cursor = self._cursor = cursor
        for place in places.split("~") if places else ():
            found = self._PLACE.fullmatch(place)
            if found is None:
                raise UnknownPlace
            self._places[found[1]] = {STDOUT: int(found[2]), STDERR: int(found[3])}
        for execution_id, ends in self._places.items():
            for stream, offset in ends.items():
                request.positions.add(execution_id=execution_id, stream=stream, offset=offset)

    def frame(self, reply: Any) -> list[bytes]:
        return [made for update in reply.updates for made in self._update(update)]

    def _update(self, update: Any) -> Iterable[bytes]:
        name = update.WhichOneof("update")
        if name is None:
            # Of a kind that a newer controller knows.
            return []
        if name == "output":
            return self._output(update.run_id, update.output)
        if update.cursor:
            self._cursor = update.cursor
        made: list[bytes] = []
        if name == "state" and update.state.HasField("finished_at"):
            # Nothing follows an end: what was held back of its output goes before it.
            made += self._held_of(update.run_id)
        return [*made, wire.event(name, orjson.dumps(render(update)), self.last_id())]

    def _output(self, run_id: str, output: Any) -> Iterator[bytes]:
        execution_id, chunk = output.execution_id, output.chunk
        key = execution_id, chunk.stream
        for data, end in chunk_data(self._texts, key, chunk):
            yield self._placed(run_id, execution_id, chunk.stream, data, end)
        if self._texts is not None and self._texts.holds(key):
            self._of[key] = run_id
        else:
            self._of.pop(key, None)

    def _placed(
        self, run_id: str, execution_id: str, stream: int, data: dict[str, Any], end: int
    ) -> bytes:
        ends = self._places.pop(execution_id, None) or {STDOUT: 0, STDERR: 0}
        ends[stream] = end
        self._places[execution_id] = ends
        if len(self._places) > MAX_REMEMBERED:
            del self._places[next(iter(self._places))]
        inside = {"execution_id": execution_id, "chunk": data}
        shown = {"run_id": run_id, "cursor": "", "output": inside}
        return wire.event("output", orjson.dumps(shown), self.last_id())

    def _held_of(self, run_id: str) -> Iterator[bytes]:
        if self._texts is None:
            return
        for key in self._texts.held():
            if self._of.get(key) == run_id:
                del self._of[key]
                execution_id, stream = key
                for data, end in held_data(self._texts, key):
                    yield self._placed(run_id, execution_id, stream, data, end)

    def rest(self) -> list[bytes]:
        return [made for run_id in set(self._of.values()) for made in self._held_of(run_id)]

    def last_id(self) -> str:
        latest = [*islice(reversed(self._places.items()), MAX_PLACES)]
        places = "~".join(f"{id_}.{ends[STDOUT]}.{ends[STDERR]}" for id_, ends in latest[::-1])
        return f"{places}~~{self._cursor}"


def chunk_data(
    texts: Texts | None, key: Key, chunk: OutputChunk
) -> Iterator[tuple[dict[str, Any], int]]:
    """The JSON form of a chunk, with text, and where it ends; a gap ends what was held back."""
    data = chunk.data
    if texts is None or not data:
        yield from held_data(texts, key)
        yield _shown(chunk, chunk.offset, {}), chunk.offset + (len(data) or chunk.gap_bytes)
        return
    piece = texts.take(key, chunk.offset, data)
    if piece.text:
        yield _shown(chunk, piece.start, {"text": piece.text}), piece.end


def held_data(texts: Texts | None, key: Key) -> Iterator[tuple[dict[str, Any], int]]:
    """The same of what was held back, when nothing follows it."""
    piece = texts.rest(key) if texts is not None else None
    if piece is not None:
        shown = {"stream": _WORDS.get(key[1], "unspecified"), "offset": piece.start}
        yield {**shown, "text": piece.text}, piece.end


def _shown(chunk: OutputChunk, offset: int, text: dict[str, str]) -> dict[str, Any]:
    """As `render` would, but for the bytes."""
    shown: dict[str, Any] = {"stream": _WORDS.get(chunk.stream, "unspecified"), "offset": offset}
    if text:
        shown |= text
    elif chunk.data:
        shown["data"] = render(chunk)["data"]
    else:
        shown["gap_bytes"] = chunk.gap_bytes
    if chunk.HasField("at"):
        shown["at"] = render(chunk.at)
    shown["sequence"] = chunk.sequence
    return shown


# Methods whose streams can be resumed; every other one goes by the rule.
RESUMABLE: dict[str, Callable[[bool], Encoder]] = {
    "WatchEvents": lambda _base64: Events(),
    "WatchRuns": lambda base64: Runs(base64=base64),
    "RunJob": lambda base64: Runs(base64=base64),
    "ReadOutput": lambda base64: Output(base64=base64),
}


def encoder_of(method: MethodDescriptor, *, base64: bool) -> Encoder:
    """A new one for a stream of this method."""
    made = RESUMABLE.get(method.name)
    return made(base64) if made is not None else ByRule(method)
