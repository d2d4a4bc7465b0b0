"""Every ordinary thing that a user tries wrong: told by field and line, with the way out."""

import pytest

from kronforce_client import Conflict, Invalid
from tests.system.failures.jobs import ended, fire, outcome, read, shell
from tests.system.mistakes.command import kronforce
from tests.system.rig.cluster import Cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAD = "name: wrong\ntask: {type: shell, command: echo hi}\n"

# What is in the file → what the message must name: place, field, and what would be right.
FILES = {
    "a minute that there is not": (
        HEAD + "schedule: {type: cron, value: '0 99 * * * *'}\n",
        (":3", "schedule.value", "field 2 (minute): 99 is not allowed; use 0-59"),
    ),
    "cron with five fields": (
        HEAD + "schedule: {type: cron, value: '* * * * *'}\n",
        (":3", "schedule.value", 'did you mean "0 * * * * *"?', "next: "),
    ),
    "an unknown field": (
        HEAD + "retrymax: 3\n",
        (":3", "retrymax is not a known field", 'did you mean "retry_max"?'),
    ),
    "a wrong type": (HEAD + "retry_max: many\n", (":3", "retry_max must be a whole number")),
    "a number out of bounds": (HEAD + "retry_max: 1000\n", (":3", "retry_max", "0 to 100")),
    "an unknown task type": (
        "name: wrong\ntask: {type: shel, command: echo hi}\n",
        (":2", "task.type", 'did you mean "shell"?'),
    ),
    "an unknown time zone": (HEAD + "timezone: Mars/Base\n", (":3", "timezone", "Europe/Berlin")),
    "a target agent that there is not": (
        HEAD + "target: {type: agent, agent_id: ghost}\n",
        (":3", "target.agent_id", "'ghost'", "kronforce agent list"),
    ),
    "two jobs of one name": (HEAD + "---\n" + HEAD, (":4", 'name "wrong"', ":1")),
    "broken YAML": ("name: [a\n", (":2", "expected")),
}


async def test_a_wrong_job_file_is_refused_with_line_field_and_way_out(
    shared: Cluster,
) -> None:
    for what, (text, wanted) in FILES.items():
        path = shared.folder / "wrong.yaml"
        path.write_text(text)
        said = await kronforce(shared, "job", "apply", str(path))
        assert said.code == 1, what
        for part in wanted:
            assert part in said.err, what
        assert "Traceback" not in said.err, what
    assert "wrong" not in [job.name async for job in shared.client.jobs.list()]


async def test_calls_name_the_field_too(shared: Cluster) -> None:
    client = shared.client
    wrong = shell("wrong", "true", schedule={"type": "cron", "value": "0 99 * * * *"})
    with pytest.raises(Invalid) as refused:
        await client.jobs.create(wrong)
    assert refused.value.field == "schedule.value"
    assert "0-59" in refused.value.hint
    await client.jobs.create(shell("taken", "true"))
    with pytest.raises(Conflict):
        await client.jobs.create(shell("taken", "false"))


async def test_a_job_that_there_is_not_is_said_with_where_to_look(shared: Cluster) -> None:
    said = await kronforce(shared, "job", "run", "ghost")
    assert (said.code, said.out) == (3, b"")
    assert 'no job "ghost"' in said.err
    assert "kronforce job list" in said.err


async def test_a_command_that_is_not_there_fails_with_what_the_shell_says(
    shared: Cluster,
) -> None:
    run = await ended(shared, await fire(shared, "typo", "no-such-program --now"))
    execution = await shared.client.executions.get(run.executions[0].id)
    assert (outcome(run), execution.exit_code) == (("failed", "exit_code"), 127)
    assert "no-such-program" in execution.stderr


async def test_a_folder_that_is_not_there_fails_at_once_and_says_which(
    shared: Cluster,
) -> None:
    task = {"type": "shell", "command": "pwd", "working_dir": "/no/such/folder"}
    await shared.client.jobs.create({"name": "lost", "target": {"type": "any"}, "task": task})
    run = await ended(shared, (await shared.client.jobs.trigger("lost")).run.id)
    assert outcome(run) == ("failed", "start_failed")
    assert "/no/such/folder" in run.executions[0].message


async def test_binary_output_is_passed_on_byte_for_byte(shared: Cluster) -> None:
    command = r"printf '\000\377\001\033[31m'"
    run_id = await fire(shared, "binary", command)
    await ended(shared, run_id)
    said = await kronforce(shared, "run", "logs", run_id)
    assert (said.code, said.out) == (0, b"\x00\xff\x01\x1b[31m")


async def test_oversized_output_keeps_head_and_tail_and_the_command_says_what_is_missing(
    shared: Cluster,
) -> None:
    command = "echo first; yes | head -c 20000000; echo last"
    run_id = await fire(shared, "oversized", command, output_cap_bytes=1 << 20)
    run = await ended(shared, run_id)
    output = await read(shared, run.executions[0].id)
    said = await kronforce(shared, "run", "logs", run_id)
    assert outcome(run) == ("succeeded", "")
    assert output.gaps > 15_000_000
    assert said.code == 0
    assert said.out.startswith(b"first\n")
    assert said.out.endswith(b"last\n")
    assert "missing" in said.err or "not kept" in said.err or "gap" in said.err


async def test_a_wrong_address_and_a_wrong_key_each_say_what_to_do(shared: Cluster) -> None:
    address = shared.address
    said = await kronforce(shared, "job", "list", "--key", "kf_" + "0" * 64)
    assert said.code == 4
    assert "key" in said.err
    shared.address = "127.0.0.1:1"
    said = await kronforce(shared, "job", "list")
    shared.address = address
    assert said.code == 7
    assert "127.0.0.1:1" in said.err
