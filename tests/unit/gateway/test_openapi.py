"""The OpenAPI document says what the gateway serves, in schemas that mean what they say."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest

from kronforce_gateway.app import Gateway
from kronforce_gateway.bindings import bindings_of
from kronforce_gateway.browser import page
from kronforce_gateway.contract import SERVICES
from kronforce_gateway.not_yet import NOT_YET
from kronforce_gateway.openapi.parameters import path_of
from kronforce_gateway.reference import FILES

CHECKOUT = Path(__file__).parents[3]
TEXT = (CHECKOUT / "docs" / "openapi.json").read_text(encoding="utf-8")
API = json.loads(TEXT)
SCHEMAS = API["components"]["schemas"]
OPERATIONS = {
    f"{verb.upper()} {path}": operation
    for path, verbs in API["paths"].items()
    for verb, operation in verbs.items()
}


def test_the_committed_document_is_what_is_generated_now(tmp_path):
    script = CHECKOUT / "clients" / "python" / "generate_openapi.py"
    made = tmp_path / "openapi.json"
    subprocess.run([sys.executable, str(script), str(made)], check=True)
    assert json.loads(made.read_text(encoding="utf-8")) == API, "run: make generate"


def test_every_route_of_the_contract_is_in_it():
    routes = {f"{each.verb} {path_of(each)}" for each in bindings_of(SERVICES)}
    assert routes - OPERATIONS.keys() == set()


def test_operations_have_names_of_their_own():
    names = [each["operationId"] for each in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch("[A-Za-z][A-Za-z0-9]*", name)] == []


@pytest.mark.parametrize("route", OPERATIONS)
def test_an_operation_says_what_it_is_for_and_where_its_parameters_stand(route):
    operation = OPERATIONS[route]
    tags = {tag["name"] for tag in API["tags"]}
    assert set(operation["tags"]) <= tags
    assert operation["summary"]
    assert operation["description"]
    in_path = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
    assert in_path == set(re.findall(r"\{([^}]+)\}", route))
    undescribed = [each["name"] for each in operation["parameters"] if "description" not in each]
    assert undescribed == []


def test_every_reference_leads_somewhere():
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', TEXT)):
        at = API
        for step in reference.split("/"):
            at = at[step]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_component_is_a_schema_and_something_refers_to_it(name):
    jsonschema_rs.meta.validate(
        {"$schema": "https://json-schema.org/draft/2020-12/schema"} | SCHEMAS[name]
    )
    assert f'"#/components/schemas/{name}"' in TEXT


def check(schema):
    """A validator of what a reference into the document means."""
    text = json.dumps({**schema, "$defs": SCHEMAS}).replace("#/components/schemas/", "#/$defs/")
    return jsonschema_rs.Draft202012Validator(json.loads(text))


def bodies():
    for route, operation in OPERATIONS.items():
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" in content:
            yield pytest.param(content["schema"], content["example"], id=route)


@pytest.mark.parametrize(("schema", "example"), list(bodies()))
def test_an_example_of_a_body_is_valid(schema, example):
    assert [str(each) for each in check(schema).iter_errors(example)] == []


def test_examples_of_parameters_are_valid():
    for operation in OPERATIONS.values():
        for each in operation["parameters"]:
            if "example" in each:
                assert check(each["schema"]).is_valid(each["example"]), each["name"]


def test_a_choice_is_told_by_its_tag():
    task = SCHEMAS["TaskInput"]
    assert task["discriminator"]["propertyName"] == "type"
    assert {"shell", "http", "noop"} <= task["discriminator"]["mapping"].keys()
    schema = check({"$ref": "#/components/schemas/TaskInput"})
    assert schema.is_valid({"type": "shell", "command": "true"})
    assert not schema.is_valid({"type": "shell", "comand": "true"})
    assert not schema.is_valid({"command": "true"})


def test_what_is_sent_may_leave_out_what_is_always_given_back():
    sent = check({"$ref": "#/components/schemas/JobInput"})
    given = check({"$ref": "#/components/schemas/Job"})
    job = {"name": "a", "task": {"type": "noop"}, "description": None}
    assert sent.is_valid(job)
    assert not given.is_valid(job)
    assert not sent.is_valid({"name": "a"})
    assert check({"$ref": "#/components/schemas/JobUpdate"}).is_valid({"description": "b"})


def test_a_list_comes_in_its_envelope_and_a_bare_array_stays_bare():
    (listed,) = content_of("GET /api/jobs")
    assert {"data", "next_page_token", "total"} <= SCHEMAS[listed["$ref"].split("/")[-1]][
        "properties"
    ].keys()
    (bare,) = content_of("GET /api/jobs/groups")
    assert bare["type"] == "array"


def content_of(route):
    content = OPERATIONS[route]["responses"]["200"]["content"]
    return [content["application/json"]["schema"]]


def test_who_may_call_and_what_is_refused_is_said():
    trigger = OPERATIONS["POST /api/jobs/{job_id}/trigger"]
    assert trigger["x-permission"] == "runs.trigger"
    assert "admin, operator" in trigger["description"]
    assert {"QUEUE_FULL", "DISK_FULL", "OUTSIDE_WINDOW"} <= set(trigger["x-reasons"])
    assert {"401", "403", "404", "409", "413", "415", "429", "507"} <= trigger["responses"].keys()
    update = OPERATIONS["PUT /api/jobs/{job_id}"]
    assert "If-Match" in {each["name"] for each in update["parameters"]}
    assert {"409", "412"} <= update["responses"].keys()
    health = OPERATIONS["GET /api/health"]
    assert health["security"] == []
    assert not {"401", "403"} & health["responses"].keys()


def test_a_stream_is_events_that_tell_of_one_thing_each():
    watch = OPERATIONS["GET /api/runs/watch"]["responses"]
    assert watch.keys() >= {"200", "204"}
    (event,) = watch["200"]["content"].values()
    told = event["schema"]["properties"]["data"]["contentSchema"]["anyOf"]
    assert {"$ref": "#/components/schemas/RunEvent"} in told
    assert {"$ref": "#/components/schemas/Error"} in told
    output = OPERATIONS["GET /api/executions/{execution_id}/output"]["responses"]["200"]["content"]
    assert {"text/plain", "application/octet-stream", "text/event-stream"} == output.keys()


def test_what_is_not_built_yet_says_nothing_else():
    later = {route: each for route, each in OPERATIONS.items() if each.get("x-not-yet")}
    rows = {f"{each.verb} {each.path}" for each in NOT_YET}
    # What one gateway has and another has not is described as what it is.
    assert rows - later.keys() <= {"POST /mcp", "GET /metrics"}
    assert later.keys() <= rows
    assert all("501" in each["responses"] for each in later.values())


def test_what_the_gateway_serves_beside_the_contract_is_in_it():
    served = Gateway(NoTransport())._at.keys() - FILES.keys() - page.FILES.keys()
    assert served - API["paths"].keys() == set()
    assert FILES.keys() & API["paths"].keys() == {"/api/openapi.json", "/api/docs"}


class NoTransport:
    """Nothing is called."""
