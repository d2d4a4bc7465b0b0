"""Streaming methods: events, or for output the bytes as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor

from kronforce_client.dialect.schema import Schema
from kronforce_gateway.bindings import Binding
from kronforce_gateway.live import download
from kronforce_gateway.openapi.schemas import Replies, reference

EVENTS = "text/event-stream"
# By the contract's name.
EVENTS_OF = {"OutputChunk": "OutputEvent", "RunUpdate": "RunEvent"}
_TEXT: Schema = {"type": "string"}
_NOTHING: Schema = {"type": "object", "maxProperties": 0}


def parameters(binding: Binding) -> list[Schema]:
    """What the gateway itself takes of a stream."""
    # What is done once, by a POST, is not gone on with.
    made = (
        []
        if binding.verb != "GET"
        else [
            _own("last_event_id", "query", "Goes on after this event; as `Last-Event-ID`."),
            _own(
                "Last-Event-ID", "header", "Goes on after this event; browsers send it themselves."
            ),
            _own("ticket", "query", "In place of a key; see `CreateStreamTicket`."),
        ]
    )
    if binding.method.name != "WatchEvents":
        encoding = _own("encoding", "query", "How output is written: as text, or as bytes.")
        made.append({**encoding, "schema": {**_TEXT, "enum": ["text", "base64"]}})
    if _is_download(binding):
        about = "Whether a browser saves it instead of showing it; not of events."
        made.append(
            {**_own("download", "query", about), "schema": {"type": "boolean", "default": False}}
        )
    return made


def content(binding: Binding, replies: Replies) -> dict[str, Schema]:
    """By content type."""
    events = {EVENTS: {"schema": _event(binding, replies)}}
    if not _is_download(binding):
        return events
    octets: dict[str, Any] = {"application/octet-stream": {"schema": _TEXT}}
    return {"text/plain": {"schema": _TEXT}} | octets | events


def _event(binding: Binding, replies: Replies) -> Schema:
    kind = _item(binding.method.output_type)
    replies.refer(kind)
    told = reference(EVENTS_OF.get(kind.name, kind.name))
    return {
        "type": "object",
        "properties": {
            "event": {**_TEXT, "description": "What it tells of; `failed` and `end` are the last."},
            "id": {**_TEXT, "description": "Where to go on after it, as `Last-Event-ID`."},
            "data": {
                **_TEXT,
                "contentMediaType": "application/json",
                "contentSchema": {"anyOf": [told, reference("Error"), _NOTHING]},
                "description": "What happened; of `failed` the error, of `end` nothing.",
            },
        },
        "required": ["data"],
    }


def components(given: Mapping[str, Schema]) -> dict[str, Schema]:
    """What events tell in another form than the contract's message: output is text."""
    made: dict[str, Schema] = {}
    if chunk := given.get("OutputChunk"):
        made["OutputEvent"] = _as_text(chunk)
    if update := given.get("RunUpdate"):
        inside = given["RunOutput"]
        output = {**inside["properties"], "chunk": reference("OutputEvent")}
        properties = {**update["properties"], "output": {**inside, "properties": output}}
        made["RunEvent"] = {**update, "properties": properties}
    return made


def _as_text(chunk: Schema) -> Schema:
    about = "What was written, unless `encoding` is `base64`; then it is in `data`."
    return {
        **chunk,
        "properties": {**chunk["properties"], "text": {**_TEXT, "description": about}},
        "required": ["stream", "offset"],
    }


def _item(frame: Descriptor) -> Descriptor:
    """What a frame holds several of; an event tells of one."""
    kinds = [each.message_type for each in frame.fields if each.is_repeated]
    return next((kind for kind in kinds if kind is not None), frame)


def _is_download(binding: Binding) -> bool:
    return binding.method.name == download.METHOD and not binding.path.endswith("/watch")


def _own(name: str, place: str, about: str) -> Schema:
    return {"name": name, "in": place, "description": about, "schema": _TEXT}
