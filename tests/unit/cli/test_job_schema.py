"""`job schema`: what an editor holds a job file against is what the server holds it against."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest

from kronforce.cli.job_files import read_documents
from kronforce.core.job_rules import BOUNDS, validate_job
from kronforce.v1.job_pb2 import Job
from kronforce_client import dialect

CHECKOUT = Path(__file__).parents[3]
SCHEMA = json.loads((CHECKOUT / "docs" / "job.schema.json").read_text(encoding="utf-8"))
CHECK = jsonschema_rs.Draft202012Validator(SCHEMA)
DOCUMENTS = [
    document
    for path in sorted((CHECKOUT / "examples").rglob("*.yaml"))
    for document in read_documents(str(path))
]


def job(**fields):
    return {"name": "etl", "task": {"type": "noop"}, **fields}


def is_good(document):
    """What `job apply` would say."""
    try:
        return validate_job(dialect.parse(Job, document)) == []
    except dialect.DialectError:
        return False


def test_the_committed_schema_is_what_is_generated_now(tmp_path):
    script = CHECKOUT / "clients" / "python" / "generate_job_schema.py"
    made = tmp_path / "job.schema.json"
    subprocess.run([sys.executable, str(script), str(made)], check=True)
    assert json.loads(made.read_text()) == SCHEMA, "run: make generate"


def test_the_command_prints_the_committed_schema(kronforce):
    done = kronforce("job", "schema")
    assert (done.code, json.loads(done.out)) == (0, SCHEMA)


def test_it_is_a_schema_of_its_draft():
    jsonschema_rs.meta.validate(SCHEMA)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: each.value["name"])
def test_every_example_is_valid(document):
    assert [str(each) for each in CHECK.iter_errors(document.value)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("retrymax",), 2),
        (("name",), ""),
        (("name",), None),
        (("task",), {}),
        (("task", "type"), "shel"),
        (("task", "comand"), "echo"),
        (("schedule",), {"type": "cron"}),
        (("schedule",), {"type": "cron", "value": 5}),
        (("schedule",), {"type": "interval", "value": {"interval_secs": 0}}),
        (("schedule",), {"type": "on_demand", "value": "now"}),
        (("target",), {"type": "tagged"}),
        (("timeout_secs",), "thirty"),
        (("tags",), ["a,b"]),
        (("labels",), {"fact.os": "linux"}),
        (("retry_on",), ["exit:600"]),
        (("delivery",), "exactly_once"),
        (("starts_at",), "tomorrow"),
        (("parameters",), [{"name": "two words"}]),
    ],
)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: each.value["name"])
def test_an_example_with_one_mistake_is_not(document, path, value):
    changed = copy.deepcopy(document.value)
    inside = changed
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    assert not is_good(changed)
    assert not CHECK.is_valid(changed)


@pytest.mark.parametrize(("field", "low", "high"), BOUNDS)
def test_each_bound_of_a_number_is_in_it(field, low, high):
    for value in (low - 1, low, high, high + 1):
        document = job(**{field: value})
        assert CHECK.is_valid(document) == is_good(document) == (low <= value <= high), value


@pytest.mark.parametrize(
    "document",
    [
        job(labels={"team/os": "", "a": "b c"}, tags=["x"], group="Über"),
        job(labels={"team": "a=b"}),
        job(labels={"-team": "a"}),
        job(group="Data Platform_1", run_as="backup"),
        job(retry_on=["failed", "timed_out", "exit:1", "exit:007", "exit:599"]),
        job(retry_on=["exit:0"]),
        job(retry_on=["lost"]),
        job(schedule={"type": "cron", "value": "@hourly"}),
        job(schedule={"type": "one_shot", "value": "2026-12-01T06:00:00+01:00"}),
        job(schedule={"type": "on_demand"}),
        job(schedule=None, target=None, task={"type": "http", "url": "https://example.com/"}),
        job(target={"type": "agent", "agent_id": "web-1"}),
        job(target={"type": "all", "agent_id": "web-1"}),
        job(task={"type": "http"}),
        job(task={"type": "http", "url": "https://e.org/", "expect_status": 99}),
        job(task={"type": "http", "url": "https://e.org/", "max_response_bytes": "1024"}),
        job(task={"type": "http", "url": "https://e.org/", "tls": {"ca": ""}}),
        job(task={"type": "shell", "command": ""}),
        job(task={"type": "shell", "command": "x", "working_dir": "srv"}),
        job(task={"type": "shell", "command": "x", "working_dir": "{{HOME_DIR}}/a"}),
        job(task={"type": "shell", "command": "x", "env": {"KRONFORCE_JOB_ID": "x"}}),
        job(task={"type": "shell", "command": "x", "env": {"PORT": 8080}}),
        job(task={"type": "noop", "sleep_ms": 86_400_001}),
        job(retry_jitter="NaN"),
        job(retry_delay_secs=0.5, retry_backoff=2),
        job(parameters=[{"name": "n", "param_type": "number", "default": 3}]),
        job(parameters=[{"name": "n", "param_type": "list"}]),
        job(misfire_policy="unspecified", description=None),
        job(misfire_policy=9),
    ],
)
def test_it_agrees_with_the_server(document):
    assert CHECK.is_valid(document) == is_good(document)


def test_it_speaks_of_every_field_and_marks_what_only_comes_out():
    fields = Job.DESCRIPTOR.fields_by_name
    assert list(SCHEMA["properties"]) == list(fields)
    assert [name for name, each in SCHEMA["properties"].items() if not each["description"]] == []
    assert SCHEMA["properties"]["next_fire_at"]["readOnly"]
    assert "`run_once`: Run once" in SCHEMA["properties"]["misfire_policy"]["description"]
    assert SCHEMA["required"] == ["name", "task"]


def test_init_puts_the_schema_beside_the_file_and_names_it(kronforce, home):
    done = kronforce("job", "init")
    assert done.out == "wrote hello.yaml\n"
    first = (home / "hello.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=job.schema.json"
    assert json.loads((home / "job.schema.json").read_text()) == SCHEMA
    (document,) = read_documents("hello.yaml")
    assert CHECK.is_valid(document.value)


def test_init_leaves_a_schema_that_is_there_and_can_do_without(kronforce, home):
    (home / "job.schema.json").write_text("{}")
    kronforce("job", "init")
    assert (home / "job.schema.json").read_text() == "{}"
    (home / "job.schema.json").unlink()
    kronforce("job", "init", "plain.yaml", "--no-schema")
    assert not (home / "job.schema.json").exists()
    assert (home / "plain.yaml").read_text().startswith("# A job:")
