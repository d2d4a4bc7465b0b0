"""Tools follow from the contract, and what AI clients are told of them is current."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest

from kronforce_gateway.contract import SERVICES
from kronforce_gateway.mcp import catalogue
from kronforce_gateway.mcp.catalogue import snake_case, tools_of

CHECKOUT = Path(__file__).parents[4]
TOOLS = tools_of(SERVICES)
TEXTS = catalogue.texts()

DOCUMENTED = {
    "list_jobs", "get_job", "create_job", "trigger_job", "list_executions", "get_execution",
    "list_agents", "list_groups", "list_events", "get_system_stats",
}  # fmt: skip
ADDED = {"explain_run", "preview_schedule", "cancel_run", "watch_run"}


def test_the_committed_file_is_what_is_generated_now(tmp_path):
    script = CHECKOUT / "gateway" / "generate_mcp_tools.py"
    target = tmp_path / "tools.json"
    subprocess.run([sys.executable, script, target], check=True, cwd=CHECKOUT)

    assert target.read_text() == catalogue.TEXTS.read_text(), "run make generate and commit"


def test_the_documented_tools_are_there_in_the_order_of_their_names():
    assert set(TOOLS) >= DOCUMENTED | ADDED
    assert list(TOOLS) == sorted(TOOLS) == list(TEXTS)


@pytest.mark.parametrize(
    ("method", "tool"),
    [("ListJobs", "list_jobs"), ("WhoAmI", "who_am_i"), ("GetSystemStats", "get_system_stats")],
)
def test_a_tool_is_called_as_its_method(method, tool):
    assert snake_case(method) == tool


def test_only_what_changes_nothing_says_that_it_reads():
    writes = {name for name, tool in TOOLS.items() if not tool.read_only}

    assert writes >= {"create_job", "trigger_job", "cancel_run"}
    for name, told in TEXTS.items():
        hints = told["annotations"]
        assert hints["readOnlyHint"] == (name not in writes), name
        assert not (hints["readOnlyHint"] and hints["destructiveHint"]), name
    assert TEXTS["cancel_run"]["annotations"]["destructiveHint"]


def test_no_tool_is_for_admins_alone():
    assert not {t.permission for t in TOOLS.values()} & {"keys.admin", "system.admin"}


@pytest.mark.parametrize("name", TEXTS)
def test_schemas_are_plain_objects_that_models_take(name):
    for which in ("inputSchema", "outputSchema"):
        schema = TEXTS[name][which]
        jsonschema_rs.meta.validate({"$schema": DRAFT, **schema})
        assert schema["type"] == "object"
        # Some models' own rules refuse these at the top.
        assert not schema.keys() & {"oneOf", "anyOf", "allOf", "not"}
        text = json.dumps(schema)
        assert '"null"' not in text
        assert '"type": [' not in text


DRAFT = "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", TEXTS)
def test_each_tool_says_what_it_does_and_what_it_takes(name):
    told = TEXTS[name]
    assert len(told["description"]) > 10
    for field, schema in told["inputSchema"]["properties"].items():
        assert schema.get("description") or "$ref" in schema, field


def test_what_every_call_needs_is_required():
    needed = {name: told["inputSchema"].get("required", []) for name, told in TEXTS.items()}

    assert needed["get_job"] == ["job_id"]
    assert needed["create_job"] == ["job"]
    assert needed["watch_run"] == ["run_id"]
    assert needed["list_jobs"] == []


def test_all_tools_together_fit_into_a_models_memory():
    # Some 40,000 tokens; each conversation pays for them.
    assert sum(len(json.dumps(told)) for told in TEXTS.values()) < 160_000
