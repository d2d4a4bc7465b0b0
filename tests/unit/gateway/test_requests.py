"""From path, query and body to the method's message; what is wrong is named as it was sent."""

from typing import Any

import orjson
import pytest
from google.protobuf.message import Message

from kronforce_gateway.bindings import Binding, bindings_of
from kronforce_gateway.contract import SERVICES
from kronforce_gateway.failures import Failure
from kronforce_gateway.requests import read_request

BINDINGS = {f"{each.verb} {each.path}": each for each in bindings_of(SERVICES)}
CREATE, UPDATE = BINDINGS["POST /api/jobs"], BINDINGS["PUT /api/jobs/{job_id}"]
LIST, TRIGGER = BINDINGS["GET /api/jobs"], BINDINGS["POST /api/jobs/{job_id}/trigger"]
DELETE = BINDINGS["DELETE /api/jobs/{job_id}"]
RUNS = BINDINGS["GET /api/jobs/{job_id}/executions"]


def read(binding: Binding, query: str = "", body: Any = b"", if_match: str = "") -> Any:
    text = body if isinstance(body, bytes) else orjson.dumps(body)
    values = tuple("etl" for _ in binding.variables)
    return read_request(binding, values, query.encode(), text, if_match)


def refused(binding: Binding, query: str = "", body: Any = b"", if_match: str = "") -> list[str]:
    """`field: message; hint` of each detail."""
    with pytest.raises(Failure) as caught:
        read(binding, query, body, if_match)
    assert (caught.value.status, caught.value.reason) == (400, "INVALID_FIELD")
    assert orjson.loads(caught.value.body())["error"]
    return [
        f"{each['field']}: {each['message']}" + (f"; {each['hint']}" if "hint" in each else "")
        for each in caught.value.details
    ]


def test_a_query_is_read_by_the_types_of_its_fields() -> None:
    asked = read(LIST, "group=ETL+x&status=paused&search=a%26b&page=2&page_size=7&tag=%C3%A9")
    assert (asked.group, asked.status, asked.search, asked.tag) == ("ETL x", 2, "a&b", "é")
    assert (asked.page, asked.page_size) == (2, 7)


def test_per_page_is_page_size_and_begins_with_the_first_page() -> None:
    asked = read(LIST, "per_page=20")
    assert (asked.page_size, asked.page) == (20, 1)
    assert read(LIST, "page=3&per_page=20").page == 3
    assert read(LIST, "per_page=20&page_token=x").page == 0


def test_status_is_the_state_of_executions_and_runs() -> None:
    assert read(RUNS, "status=failed").state == read(RUNS, "state=failed").state == 5


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("grup=x", 'grup: is not a known field; did you mean "group"?'),
        ("per_pages=x", 'per_pages: is not a known field; did you mean "per_page"?'),
        ("zzz=x", "zzz: is not a known field; here may stand: group, "),
        ("group.name=x", "group: must be text, not an object"),
        ("group=a&group=b", "group: is given twice"),
        ("per_page=5&page_size=5", "page_size: is given twice"),
        ("per_page=x", "per_page: must be a whole number, not text"),
        ("page_size=1.5", "page_size: must be a whole number, not text"),
        ("page_size=99999999999", "page_size: must be at most 2,147,483,647"),
        ("page_size=" + "9" * 9_000, "page_size: must be a whole number"),
        ("page_size=²", "page_size: must be a whole number"),
        ("status=paussed", 'not "paussed"; did you mean "paused"?'),
        ("status=", "status: must be one of scheduled, paused, unscheduled"),
        ("group=%FF", ": the query is not valid UTF-8"),
        ("&".join(f"a{n}=1" for n in range(300)), ": the query has too many fields"),
    ],
)
def test_a_query_that_is_wrong_says_where(query: str, said: str) -> None:
    assert said in refused(LIST, query)[0]


def test_all_that_is_wrong_with_a_query_is_said_at_once() -> None:
    assert len(refused(LIST, "a=1&b=2&group=x&group=y")) == 3


@pytest.mark.parametrize(
    ("binding", "query", "said"),
    [
        (RUNS, "job_id=x", "job_id: belongs in the path"),
        (TRIGGER, "force=true", "force: belongs in the body"),
        (CREATE, "job=x", "job: belongs in the body"),
        (CREATE, "immediate=yes", "immediate: must be true or false, not text"),
        (RUNS, "status=faild", "status: must be one of"),
    ],
)
def test_what_has_another_place_is_refused_in_the_query(
    binding: Binding, query: str, said: str
) -> None:
    assert said in refused(binding, query, {"name": "x"})[0]


def test_a_body_s_own_options_stand_in_the_query() -> None:
    asked = read(CREATE, "immediate=true&request_id=7", {"name": "x"})
    assert (asked.immediate, asked.request_id, asked.job.name) == (True, "7", "x")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", ": the body is empty; send the fields as a JSON object"),
        (b"  \n", ": the body is empty"),
        (b"null", ": the body must be an object, not null"),
        (b"[]", ": the body must be an object, not a list"),
        (b'"x"', ": the body must be an object, not text"),
        (b"{", ": the document is not valid JSON"),
        (b"\xff", ": the document is not valid UTF-8"),
        (b'{"name": "x", "name": "y"}', "name: stands twice in one object"),
        (b'{"task": {"env": {"A": "1", "A": "2"}}}', "task.env.A: stands twice in one object"),
        (b'{"retry_backoff": NaN}', "retry_backoff: is NaN, which JSON does not know"),
        (b'{"retry_backoff": 1e999}', "retry_backoff: is too large"),
        (b'{"retry_max": ' + b"9" * 10_000 + b"}", ": the document has a number with too many"),
        (b'{"retry_max": 9999999999}', "retry_max: must be at most 2,147,483,647"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, ": the document is nested deeper than 64"),
        (b'{"nam": "x"}', 'nam: is not a known field; did you mean "name"?'),
        (b'{"task": {"type": "shell", "comand": "x"}}', "task.comand: is not a known field"),
        (b'{"tags": ["a", 5]}', "tags[1]: must be text"),
        (b'{"\\ud800": 1}', "is not a known field"),
        (b'{"name": "\\ud800"}', "name: must be valid Unicode"),
    ],
)
def test_a_body_that_is_wrong_says_where_as_it_stands_in_the_body(body: bytes, said: str) -> None:
    assert said in refused(CREATE, body=body)[0]


def test_a_trigger_needs_no_body() -> None:
    assert read(TRIGGER).job_id == read(TRIGGER, body={}).job_id == "etl"
    # What is sent is read: blanks are no JSON.
    assert ": the document is not valid JSON" in refused(TRIGGER, body=b" ")[0]


def test_a_body_may_repeat_the_path_and_not_contradict_it() -> None:
    assert read(TRIGGER, body={"job_id": "etl"}).job_id == "etl"
    assert "job_id: is another than the path's, 'etl'" in refused(TRIGGER, body={"job_id": "x"})[0]


def test_a_put_changes_what_its_body_names() -> None:
    asked = read(UPDATE, body={"description": "", "tags": None, "retry_max": 2})
    assert list(asked.update_mask.paths) == ["description", "tags", "retry_max"]
    assert (asked.job.retry_max, list(asked.job.tags)) == (2, [])


def test_a_put_of_nothing_changes_nothing() -> None:
    assert list(read(UPDATE, body={}).update_mask.paths) == ["etag"]


def test_a_put_may_say_its_mask_itself() -> None:
    asked = read(UPDATE, "update_mask=tags", {"description": "x"})
    assert list(asked.update_mask.paths) == ["tags"]


@pytest.mark.parametrize("sent", ['"7"', "7", ' W/"7" '])
def test_if_match_is_the_etag(sent: str) -> None:
    assert read(UPDATE, body={"tags": []}, if_match=sent).job.etag == "7"
    assert read(DELETE, if_match=sent).etag == "7"


def test_if_match_of_anything_says_nothing() -> None:
    assert read(UPDATE, body={"tags": []}, if_match="*").job.etag == ""


def test_two_etags_that_differ_are_refused() -> None:
    said = refused(UPDATE, body={"etag": "8"}, if_match='"7"')
    assert "If-Match: is another etag" in said[0]


def test_if_match_where_nothing_has_an_etag_is_refused_rather_than_ignored() -> None:
    assert "If-Match: is not taken here" in refused(TRIGGER, if_match='"7"')[0]
    assert read(LIST, if_match='"7"') == type(read(LIST))()


def test_every_route_has_a_name_for_its_fields() -> None:
    """Nothing in a request is out of reach: each field is in path, query, body or a header."""
    for binding in BINDINGS.values():
        kind: type[Message] = binding.request_class
        fields = {field.name for field in kind.DESCRIPTOR.fields}
        in_path = {path[0] for path in binding.variables}
        in_body = fields if binding.body == "*" else {binding.body} - {""}
        in_headers = {name for name, _ in binding.headers}
        found = {*binding.query.names, *in_path, *in_body, *in_headers}
        assert found >= fields, binding.name
