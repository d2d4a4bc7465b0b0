"""What of a call stands in its path, its query and its headers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from kronforce_client.dialect import schema_values as values
from kronforce_client.dialect.schema import Notes, Schema
from kronforce_gateway.bindings import WHOLE, Binding
from kronforce_gateway.openapi import streams, words
from kronforce_gateway.openapi.examples import of_field
from kronforce_gateway.queries import ALIASES
from kronforce_gateway.requests import ETAG, IF_MATCH, MASK


def parameters(binding: Binding, notes: Notes) -> list[Schema]:
    """All of them, those of the path first."""
    found = [_in_path(binding, path, notes) for path in binding.variables]
    in_query = {field.name: _in_query(field, notes) for field in query_fields(binding)}
    found += in_query.values()
    for alias in binding.query.names:
        if (meant := in_query.get(ALIASES.get(alias, ""))) and alias not in in_query:
            found.append(_alias(alias, meant))
    found += _in_headers(binding, notes)
    if binding.method.server_streaming:
        found += streams.parameters(binding)
    if takes_etag(binding):
        found.append(
            {
                "name": IF_MATCH,
                "in": "header",
                "description": "The `ETag` of what was read: where it has changed since, nothing"
                " is done, and the answer is 412 with ETAG_MISMATCH. `*`: whatever it is now.",
                "schema": {"type": "string"},
                "example": '"3"',
            }
        )
    return found


def path_of(binding: Binding) -> str:
    """With variables by their last names alone: a dot in one is more than many readers take."""
    made = binding.path
    for path in binding.variables:
        made = made.replace("{" + ".".join(path) + "}", "{" + path[-1] + "}")
    return made


def query_fields(binding: Binding) -> Iterator[FieldDescriptor]:
    """Fields of the request that neither the path nor a header nor the body holds."""
    if binding.body == WHOLE:
        return
    elsewhere = {path[0] for path in binding.variables} | {name for name, _ in binding.headers}
    for field in binding.method.input_type.fields:
        plain = field.message_type is None or field.message_type.full_name in values.KNOWN
        if plain and field.name != binding.body and field.name not in elsewhere:
            yield field


def takes_etag(binding: Binding) -> bool:
    """Whether `If-Match` means something."""
    if binding.resource is not None:
        return binding.verb == "PUT" and ETAG in binding.resource.fields_by_name
    return ETAG in binding.method.input_type.fields_by_name


def _in_path(binding: Binding, path: tuple[str, ...], notes: Notes) -> Schema:
    kind: Any = binding.method.input_type
    for step in path[:-1]:
        kind = kind.fields_by_name[step].message_type
    field = kind.fields_by_name[path[-1]]
    return {
        "name": path[-1],
        "in": "path",
        "required": True,
        **_described(notes.comments.get(field.full_name, "")),
        "schema": {"type": "string", "minLength": 1},
        **of_field(field),
    }


def _in_query(field: FieldDescriptor, notes: Notes) -> Schema:
    comment = notes.comments.get(field.full_name, "")
    if field.name == MASK:
        comment += " By default what the body names."
    made: Schema = {
        "name": field.name,
        "in": "query",
        **_described(comment),
        "schema": _schema(field, notes),
        **of_field(field),
    }
    if field.full_name in notes.required:
        made["required"] = True
    return made


def _in_headers(binding: Binding, notes: Notes) -> Iterator[Schema]:
    """A field may have several names there."""
    for field, names in binding.headers:
        full_name = binding.method.input_type.fields_by_name[field].full_name
        for name in names:
            yield {
                "name": name.decode().title(),
                "in": "header",
                **_described(notes.comments.get(full_name, "")),
                "schema": {"type": "string"},
            }


def _alias(name: str, meant: Schema) -> Schema:
    about = _ALIASED.get(name, f"The same as `{meant['name']}`.")
    return {**meant, "name": name, "description": about}


_ALIASED = {"per_page": "`page_size`, for who counts pages: `page` is 1 where it is not said."}


def _schema(field: FieldDescriptor, notes: Notes) -> Schema:
    kind = field.message_type
    one = (
        dict(values.KNOWN[kind.full_name])
        if kind is not None
        else values.scalar(field, closed_enums=True)
    )
    # Text in a query is a number where one belongs.
    one = values.written(one)
    if field.enum_type is not None:
        one["enum"] = [word for word in one["enum"] if word != "unspecified"]
    if field.is_repeated:
        return {"type": "array", "items": one}
    return values.merged(one, notes.keywords.get(field.full_name, {}))


def _described(comment: str) -> Schema:
    return {"description": comment.strip()} if comment else {}


def query_words(binding: Binding, notes: Notes) -> str:
    """What the fields of the query say, for whoever looks for reasons in it."""
    said = (notes.comments.get(field.full_name, "") for field in query_fields(binding))
    return words.paragraphs(said)
