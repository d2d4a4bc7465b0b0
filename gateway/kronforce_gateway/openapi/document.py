"""The whole document: every route, and what it takes and gives. Start reading here.

Nothing here knows a resource: what a method says of itself in the contract is what is said of it.
What the descriptors do not hold at run time, the comments and the limits of fields, is given as
`Notes`, so the document is made when the contract changes (`clients/python/generate_openapi.py`)
and served as it was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, ServiceDescriptor

from kronforce_client.dialect.schema import Notes, Schema
from kronforce_gateway.bindings import Binding, bindings_of
from kronforce_gateway.openapi import answers, streams, words
from kronforce_gateway.openapi import beside as by_hand
from kronforce_gateway.openapi import later as not_built
from kronforce_gateway.openapi.operations import Maker
from kronforce_gateway.openapi.parameters import path_of
from kronforce_gateway.openapi.schemas import PLACE, Replies, Requests

VERSION = "3.1.0"
_COUNT: Schema = {"type": "integer", "minimum": 0}

ABOUT = """\
Kronforce over HTTP: the contract's methods as JSON, for browsers, curl and programs without gRPC.

**Keys.** Send `Authorization: Bearer kf_…`. What a key may do follows from its role and its groups.

**JSON.** Field names are those of the contract, enum values lower-case words, instants RFC 3339.
A task, a schedule and a target say their `type`. Keys that are not known, values of another type
and numbers out of range are refused with 400. In what is sent, null is "not set".

**Changing.** `PUT` changes what its body names and leaves the rest; null clears. With `If-Match` it
does nothing to what has changed since it was read.

**Lists** are pages: `{"data": […], "next_page_token", "total"}`. `page_token` goes on from there;
`page` and `per_page` count pages instead, and get `page`, `per_page` and `total_pages` too.

**Errors** are `{"error", "reason", "details"}`, with the status that says what to do about it.
"""


def document(
    services: Iterable[ServiceDescriptor],
    notes: Notes,
    *,
    version: str,
    roles: Mapping[str, list[str]],
) -> dict[str, Any]:
    """The OpenAPI document of what the gateway serves."""
    services = list(services)
    bindings = list(bindings_of(services))
    notes = _with_limits(notes, bindings)
    given = Replies(notes)
    for binding in bindings:
        given.refer(binding.method.output_type)
    taken = Requests(notes, frozenset(name for name, _ in given.defs()))
    maker = Maker(
        notes=notes, replies=given, requests=taken, codes=words.codes(notes.comments), roles=roles
    )
    paths = _paths(bindings, maker)
    schemas = _schemas(bindings, given, taken)
    return {
        "openapi": VERSION,
        "info": {"title": "Kronforce", "version": version, "description": ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [*sorted(_tags(services, bindings, notes), key=_place), by_hand.TAG, not_built.TAG],
        "paths": paths,
        "components": {
            "schemas": {name: schemas[name] for name in sorted(_named(paths, schemas))},
            "responses": answers.responses(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, `kf_…`.",
                }
            },
        },
    }


def _paths(bindings: Iterable[Binding], maker: Maker) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    names: set[str] = set()
    for binding in bindings:
        name = _name(binding, names)
        names.add(name)
        at = paths.setdefault(path_of(binding), {})
        at[binding.verb.lower()] = maker.operation(binding, name)
    # What one gateway has another may lack: what it is goes before that it is not built.
    for path, verb, operation in (*by_hand.beside(), *not_built.later()):
        paths.setdefault(path, {}).setdefault(verb, operation)
    return dict(sorted(paths.items()))


def _name(binding: Binding, names: set[str]) -> str:
    """The method's name; a further route of it says by what it goes."""
    method: str = binding.method.name
    if method not in names:
        return method
    by = "".join(path[-1].title().replace("_", "") for path in binding.variables)
    base = f"{method}By{by}" if by else f"{method}Again"
    number = 2
    name = base
    while name in names:
        name, number = f"{base}{number}", number + 1
    return name


def _tags(
    services: Iterable[ServiceDescriptor], bindings: Iterable[Binding], notes: Notes
) -> Iterator[Schema]:
    served = {binding.method.containing_service.full_name for binding in bindings}
    for service in services:
        if service.full_name in served:
            comment = notes.comments.get(service.full_name, "")
            yield {"name": service.name.removesuffix("Service"), "description": comment}


def _place(tag: Schema) -> tuple[int, str]:
    name, first = tag["name"], by_hand.FIRST
    return first.index(name) if name in first else len(first), name


def _schemas(bindings: Iterable[Binding], given: Replies, taken: Requests) -> dict[str, Schema]:
    replies = given.components()
    found = replies | taken.components() | streams.components(replies) | {"Error": answers.ERROR}
    pages = {_plain(each.method.output_type): each.listed for each in bindings if each.listed}
    return found | {name: _page(found[name], listed) for name, listed in pages.items()}


def _named(paths: Mapping[str, Any], schemas: Mapping[str, Schema]) -> set[str]:
    """The components that something refers to, and what they refer to themselves."""
    found = {"Error"}
    waiting: list[Any] = [paths, schemas["Error"]]
    while waiting:
        at = waiting.pop()
        if isinstance(at, dict):
            name = str(at.get("$ref", "")).removeprefix(PLACE)
            if name in schemas and name not in found:
                found.add(name)
                waiting.append(schemas[name])
            waiting += at.values()
        elif isinstance(at, list):
            waiting += at
    return found


def _page(made: Schema, listed: str) -> Schema:
    """The envelope of a list: what is listed is called `data`, and pages may have numbers."""
    names = {key: "data" if key == listed else key for key in made["properties"]}
    properties = {name: made["properties"][key] for key, name in names.items()}
    return {
        **made,
        "properties": {**properties, **_NUMBERS},
        "required": [names[key] for key in made["required"]],
    }


_NUMBERS: Mapping[str, Schema] = {
    name: {"description": f"{about} Only of a page that was asked for by its number.", **_COUNT}
    for name, about in (
        ("page", "Which page this is, from 1."),
        ("per_page", "Rows a page."),
        ("total_pages", "Pages of that length, of the first 10,000 rows."),
    )
}


def _plain(kind: Descriptor) -> str:
    return str(kind.full_name.removeprefix(f"{kind.file.package}."))


def _with_limits(notes: Notes, bindings: Iterable[Binding]) -> Notes:
    """With what the comments on requests say of defaults and limits, where nobody said it yet."""
    found: dict[str, Mapping[str, Any]] = {}
    for kind in _requests(bindings):
        for field in kind.fields:
            made = words.keywords(field, notes.comments.get(field.full_name, ""))
            if made:
                found[field.full_name] = {**made, **notes.keywords.get(field.full_name, {})}
    return Notes(
        comments=notes.comments,
        keywords={**notes.keywords, **found},
        required=notes.required,
        closed_enums=notes.closed_enums,
    )


def _requests(bindings: Iterable[Binding]) -> Iterator[Descriptor]:
    seen: set[str] = set()
    waiting = [binding.method.input_type for binding in bindings]
    while waiting:
        kind = waiting.pop()
        if kind.full_name not in seen:
            seen.add(kind.full_name)
            yield kind
            waiting += [each.message_type for each in kind.fields if each.message_type is not None]
