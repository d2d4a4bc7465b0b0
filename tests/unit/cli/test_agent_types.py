"""`kronforce agent task-types`: shown, set from a file, and what agents of that kind look like."""

import json

from kronforce.v1.agent_pb2 import AGENT_TYPE_CUSTOM

TYPES = """
- name: python
  description: Run a Python script
  fields:
    - {name: script, field_type: textarea, required: true}
    - {name: args}
- name: ruby
"""


def test_types_are_set_from_a_file_and_shown(cli, fake, tmp_path):
    fake.add_agent("puller", agent_type=AGENT_TYPE_CUSTOM)
    file = tmp_path / "types.yaml"
    file.write_text(TYPES)
    done = cli("agent", "task-types", "puller", "-f", str(file))
    assert done.code == 0, done.err
    shown = cli("agent", "task-types", "puller")
    assert shown.out == done.out
    assert shown.out.splitlines()[0].split("\t") == [
        "python", "script (textarea, required), args", "Run a Python script",
    ]  # fmt: skip


def test_what_json_prints_can_be_set_again(cli, fake, tmp_path):
    fake.add_agent("puller", agent_type=AGENT_TYPE_CUSTOM)
    file = tmp_path / "types.yaml"
    file.write_text(TYPES)
    printed = cli("agent", "task-types", "puller", "-f", str(file), "-o", "json").out
    assert [each["name"] for each in json.loads(printed)["task_types"]] == ["python", "ruby"]
    file.write_text(printed)
    assert cli("agent", "task-types", "puller", "-f", str(file), "-o", "json").out == printed


def test_a_mistake_in_the_file_is_named(cli, fake, tmp_path):
    fake.add_agent("puller", agent_type=AGENT_TYPE_CUSTOM)
    file = tmp_path / "types.yaml"
    file.write_text("- name: x\n  fields: [{name: y, kind: text}]\n")
    done = cli("agent", "task-types", "puller", "-f", str(file))
    assert done.code != 0
    assert "kind" in done.err
    assert fake.task_types == {}


def test_without_any_it_says_how_to_set_them(cli, fake):
    fake.add_agent("puller", agent_type=AGENT_TYPE_CUSTOM)
    assert "agent task-types puller -f FILE" in cli("agent", "task-types", "puller").err


def test_a_custom_agent_is_shown_as_one(cli, fake):
    fake.add_agent("puller", agent_type=AGENT_TYPE_CUSTOM).slots = 0
    shown = cli("agent", "get", "puller").out
    assert "custom: it polls for work" in shown
    assert "as many as it asks for" in shown
    assert "custom" in cli("agent", "list", "-o", "wide").out
