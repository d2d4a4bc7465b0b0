"""One route as an operation of the document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from kronforce.v1 import options_pb2
from kronforce_client.dialect.schema import Notes, Schema
from kronforce_gateway import replies
from kronforce_gateway.bindings import PUBLIC, Binding
from kronforce_gateway.openapi import answers, streams, words
from kronforce_gateway.openapi.examples import of_body
from kronforce_gateway.openapi.parameters import parameters, query_words, takes_etag
from kronforce_gateway.openapi.schemas import Replies, Requests
from kronforce_gateway.requests import ETAG, MASK

JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class Maker:
    """What operations are made with. `roles`: who is granted a permission."""

    notes: Notes
    replies: Replies
    requests: Requests
    codes: Mapping[str, str]
    roles: Mapping[str, list[str]]

    def operation(self, binding: Binding, name: str) -> Schema:
        """The operation of a route."""
        method = binding.method
        comment = self.notes.comments.get(method.full_name, "")
        permission = rule_of(method).permission
        made: Schema = {
            "operationId": name,
            "tags": [tag_of(method)],
            "summary": words.summary(comment),
            "description": words.paragraphs([comment, self._who(permission)]),
            "parameters": parameters(binding, self.notes),
        }
        if binding.body:
            made["requestBody"] = self._body(binding)
        found = words.reasons(words.paragraphs([comment, query_words(binding, self.notes)]))
        made["responses"] = self._good(binding) | answers.refusals(
            self._statuses(binding, permission, found)
        )
        if permission == PUBLIC:
            made["security"] = []
        made["x-permission"] = permission
        made["x-grpc-method"] = f"{method.containing_service.full_name}/{method.name}"
        return made | ({"x-reasons": found} if found else {})

    def _who(self, permission: str) -> str:
        if permission == PUBLIC:
            return "Needs no key."
        roles = ", ".join(self.roles.get(permission, ()))
        return f"Needs `{permission}`, which these roles have: {roles}."

    def _body(self, binding: Binding) -> Schema:
        field = binding.body_field
        if binding.raw and field is not None:
            about = self.notes.comments.get(field.full_name, "").strip()
            return {"required": False, "description": about, "content": {JSON: {"schema": {}}}}
        content = {"schema": self._sent(binding, field), **of_body(binding)}
        needed = field is not None or bool(self._required(binding))
        return {"required": needed, "content": {JSON: content}}

    def _sent(self, binding: Binding, field: FieldDescriptor | None) -> Schema:
        kind = binding.method.input_type
        if field is None:
            in_path = frozenset(path[0] for path in binding.variables if len(path) == 1)
            return self.requests.body(kind, in_path)
        if field.message_type is None:
            return self.requests.value(field)
        if binding.verb == "PUT" and MASK in kind.fields_by_name:
            return self.requests.change(field.message_type)
        return self.requests.refer(field.message_type)

    def _required(self, binding: Binding) -> list[str]:
        in_path = {path[0] for path in binding.variables}
        fields = binding.method.input_type.fields
        return [
            each.name
            for each in fields
            if each.full_name in self.notes.required and each.name not in in_path
        ]

    def _good(self, binding: Binding) -> Schema:
        status = replies.status_of(binding)
        reply = binding.method.output_type
        said = words.summary(self.notes.comments.get(reply.full_name, "Done."))
        made: Schema = {"description": f"{said}."}
        if ETAG in reply.fields_by_name and not binding.response_body:
            about = "The resource's revision, for `If-Match`."
            made["headers"] = {"ETag": {"description": about, "schema": {"type": "string"}}}
        made["content"] = self._content(binding)
        ended = {"204": {"description": "The stream has ended, or the ticket is spent."}}
        nothing = {"204": {"description": "There is none now."}}
        return (
            {str(int(status)): made}
            | (ended if binding.method.server_streaming else {})
            | (nothing if binding.may_be_empty else {})
        )

    def _content(self, binding: Binding) -> Schema:
        reply = binding.method.output_type
        if binding.method.server_streaming:
            return streams.content(binding, self.replies)
        if binding.response_body:
            part = reply.fields_by_name[binding.response_body]
            return {JSON: {"schema": self.replies.value(part)}}
        return {JSON: {"schema": self.replies.refer(reply)}}

    def _statuses(self, binding: Binding, permission: str, reasons: list[str]) -> Iterator[int]:
        yield from answers.ALWAYS
        if permission != PUBLIC:
            yield from answers.WITH_A_KEY
        if binding.variables:
            # With nothing in its place it is another path, which may take other methods.
            yield 405
        if binding.variables or any("_id" in each.name for each in _fields(binding)):
            yield 404
        if binding.body:
            yield from answers.WITH_A_BODY if not binding.raw else (413,)
        if takes_etag(binding):
            yield from (409, 412)
        if rule_of(binding.method).audited:
            # What changes something may meet a state that does not allow it.
            yield 409
        for reason in reasons:
            if code := self.codes.get(reason):
                yield answers.status_of(code, reason)


def tag_of(method: MethodDescriptor) -> str:
    """The service, in a word."""
    return method.containing_service.name.removesuffix("Service")


def rule_of(method: MethodDescriptor) -> options_pb2.AccessRule:
    return method.GetOptions().Extensions[options_pb2.access]


def _fields(binding: Binding) -> Iterator[FieldDescriptor]:
    """The request's own fields, and those of the resource in it."""
    yield from binding.method.input_type.fields
    if binding.resource is not None:
        yield from binding.resource.fields
