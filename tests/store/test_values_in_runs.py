"""What runs get for the variables and parameters that their job names, on both stores."""

import itertools
import random

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from kronforce.core.access import Role, Scope
from kronforce.core.variable_rules import DAY
from kronforce.engine import job_changes
from kronforce.engine.job_changes import Change
from kronforce.engine.values import named_by_jobs as job_variables
from kronforce.engine.values.changes import Change as VariableChange
from kronforce.engine.values.changes import Draft, create_variable, delete_variable
from kronforce.errors import InUse, InvalidArgument, NotAllowed
from kronforce.store import output
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1.execution_pb2 import OutputChunk
from kronforce.v1.job_pb2 import Job, Parameter, Task
from kronforce.v1.job_service_pb2 import TriggerJobRequest
from tests.store.only_on import ON_SQLITE
from tests.store.rig import ADMIN, FakeAgent, Someone, item

STATE_FAILED = 5
OPERATOR = Scope(principal_id="op", role=Role.OPERATOR)
WEB = Scope(principal_id="web", role=Role.OPERATOR, groups=frozenset({"web"}))


@pytest.fixture
async def agent(rig):
    made = FakeAgent(rig, await rig.enrol(), auto=False)
    await made.connect()
    yield made
    await made.leave()


def shell(command, **fields):
    return Task(shell={"command": command, **fields})


async def make(rig, name, value, *, secret=False, **draft):
    await rig.store.write(
        create_variable,
        VariableChange(
            scope=ADMIN,
            author=Someone(name="admin"),
            trusted=True,
            now=rig.clock.now_us(),
            keyring=rig.engine._keyring,
        ),
        variable_id=rig.new_id(),
        name=name,
        draft=Draft(value=value, secret=secret, **draft),
    )
    await rig.engine.variables.refresh()


def params(**values):
    return ParseDict(values, Struct())


async def get(agent):
    return (await agent.assignment()).assignment


async def test_a_command_gets_references_and_the_environment_the_values(rig, agent):
    await make(rig, "CITY", "Rome $(date)")
    await make(rig, "TOKEN", "hunter22", secret=True)
    await rig.job(task=shell("echo {{CITY}} {{TOKEN}} {{params.day}}", env={"AT": "{{CITY}}"}))
    await rig.run(params=params(day="mon"))

    sent = await get(agent)
    assert "Rome" not in sent.task.shell.command
    assert "{{" not in sent.task.shell.command
    assert sent.task.shell.env["AT"] == "Rome $(date)"
    assert sorted(each.value for each in sent.values) == [b"Rome $(date)", b"hunter22", b"mon"]
    assert list(sent.secrets) == [b"hunter22"]


async def test_a_value_is_put_in_once(rig, agent):
    await make(rig, "OUTER", "{{INNER}}")
    await make(rig, "INNER", "never")
    await rig.job(task=Task(noop={"message": "{{OUTER}} {{params.x}}"}))
    await rig.run(params=params(x="{{INNER}}"))
    assert (await get(agent)).task.noop.message == "{{INNER}} {{INNER}}"


async def test_the_next_assignment_sees_a_change(rig, agent):
    await make(rig, "CITY", "Rome")
    await rig.job(task=Task(noop={"message": "{{CITY}}"}))
    await rig.run()
    assert (await get(agent)).task.noop.message == "Rome"

    await rig.store.write(
        delete_variable,
        VariableChange(
            scope=ADMIN, author=Someone(), trusted=True, now=1, keyring=rig.engine._keyring
        ),
        ref="CITY",
        force=True,
    )
    await rig.engine.variables.refresh()
    await make(rig, "CITY", "Oslo")
    await rig.run()
    assert (await agent.assignment(2)).assignment.task.noop.message == "Oslo"


async def test_what_has_no_value_stays_as_it_stands_and_the_run_says_so(rig, agent):
    agent.auto = True
    await make(rig, "OLD", "x", sets_expiry=True, expires_at=rig.clock.now_us() - DAY)
    await rig.job(task=Task(noop={"message": "{{NOBODY}} {{OLD}} {{params.none}}"}))
    triggered = await rig.run()
    assert any("{{NOBODY}} has no value, so it stays" in each for each in triggered.warnings)

    assert (await get(agent)).task.noop.message == "{{NOBODY}} {{OLD}} {{params.none}}"
    await rig.ended(triggered.run_id)
    [attempt] = await rig.attempts(triggered.run_id)
    for part in ("{{NOBODY}}", "{{OLD}} (it has expired)", "{{params.none}}"):
        assert part in attempt.message


async def test_a_strict_job_is_not_sent_without_a_value_and_gives_its_slot_back(rig, agent):
    await rig.job(
        "strict", task=Task(noop={"message": "{{NOBODY}}"}), strict_variables=True, retry_max=3
    )
    triggered = await rig.run("strict")

    row = await rig.ended(triggered.run_id)
    [attempt] = await rig.attempts(triggered.run_id)
    assert (row.state, attempt.state_reason) == (STATE_FAILED, "unresolved_variable")
    assert "{{NOBODY}}" in attempt.message
    assert not [m for m in agent.got if m.HasField("assignment")]
    [session] = rig.engine.dispatcher.sessions.values()
    assert (session.free, session.held) == (4, {})


async def test_an_accepted_attempt_that_may_not_start_any_more_is_revoked(rig, agent):
    await make(rig, "CITY", "Rome")
    await rig.job("strict", task=Task(noop={"message": "{{CITY}}"}), strict_variables=True)
    triggered = await rig.run("strict")
    sent = await agent.assignment()
    agent.accept(sent)

    async def started():
        return (await rig.row(triggered.run_id)).started_at

    await rig.until(started)
    await agent.leave()
    await rig.store.write(
        delete_variable,
        VariableChange(
            scope=ADMIN, author=Someone(), trusted=True, now=1, keyring=rig.engine._keyring
        ),
        ref="CITY",
        force=True,
    )
    await rig.engine.variables.refresh()

    await agent.connect(item(sent, pb.INVENTORY_STATE_ACCEPTED))
    assert (await agent.message("revoke")).execution_id == sent.execution_id
    await rig.ended(triggered.run_id)
    [attempt] = await rig.attempts(triggered.run_id)
    assert attempt.state_reason == "unresolved_variable"


async def test_a_task_that_is_too_large_with_its_values_in_is_not_sent(rig, agent):
    await make(rig, "BIG", "x" * 65_536)
    await rig.job(
        task=Task(shell={"command": "true", "env": {f"V{n}": "{{BIG}}" for n in range(60)}})
    )
    triggered = await rig.run()
    await rig.ended(triggered.run_id)
    [attempt] = await rig.attempts(triggered.run_id)
    assert attempt.state_reason == "start_failed"
    assert "at most" in attempt.message


async def test_a_run_acts_with_its_jobs_group_whoever_fires_it(rig, agent):
    await make(rig, "WEBS", "for web", allowed_groups=("web",))
    await rig.job("inside", task=Task(noop={"message": "{{WEBS}}"}), group="web")
    await rig.job("outside", task=Task(noop={"message": "{{WEBS}}"}), group="ops")
    await rig.run("inside")
    await rig.run("outside")

    messages = {(await agent.assignment(n)).assignment.task.noop.message for n in (1, 2)}
    assert messages == {"for web", "{{WEBS}}"}


async def save(rig, scope, *, trusted, **fields):
    job = Job(name="j", **fields)
    change = Change(scope=scope, author=Someone(), trusted=trusted, now=rig.clock.now_us())
    return await rig.store.write(
        job_changes.create_job,
        change,
        job_id=rig.new_id(),
        job=job,
        claim=None,
        triggered=False,
    )


async def test_saving_a_job_needs_the_right_to_each_variable_that_it_names(rig):
    await make(rig, "WEBS", "x", allowed_groups=("web",))
    await make(rig, "ADMINS", "hunter22", secret=True)
    with pytest.raises(NotAllowed, match="for jobs of web"):
        await save(rig, OPERATOR, trusted=False, task=Task(noop={"message": "{{WEBS}}"}))
    with pytest.raises(NotAllowed, match="an admin saved"):
        await save(rig, OPERATOR, trusted=False, task=Task(noop={"message": "{{ADMINS}}"}))
    await save(rig, ADMIN, trusted=True, task=Task(noop={"message": "{{ADMINS}}"}))


async def test_what_the_saver_may_not_see_looks_like_what_does_not_exist(rig):
    await make(rig, "OPS", "x", allowed_groups=("ops",))
    hidden = Task(noop={"message": "{{OPS}}"})
    nothing = Task(noop={"message": "{{NOPE}}"})
    for task in (hidden, nothing):
        with pytest.raises(InvalidArgument, match="do not exist"):
            await save(rig, WEB, trusted=False, task=task, group="web", strict_variables=True)
    await save(rig, WEB, trusted=False, task=hidden, group="web")


async def test_an_admins_secret_leaves_the_job_when_somebody_else_saves_it(rig, agent):
    await make(rig, "ADMINS", "hunter22", secret=True)
    _row, _ = await save(
        rig, ADMIN, trusted=True, task=Task(noop={"message": "{{ADMINS}}"}), target={"any": {}}
    )
    change = Change(scope=OPERATOR, author=Someone(), trusted=False, now=rig.clock.now_us())
    with pytest.raises(NotAllowed):
        await rig.store.write(
            job_changes.update_job, change, ref="j", job=Job(description="x"), mask=["description"]
        )
    await rig.run("j")
    assert (await get(agent)).task.noop.message == "hunter22"


async def test_a_variable_that_jobs_name_is_deleted_by_force_alone(rig):
    await make(rig, "CITY", "Rome")
    row, _ = await save(rig, ADMIN, trusted=True, task=Task(noop={"message": "{{CITY}}"}))
    change = VariableChange(
        scope=ADMIN, author=Someone(), trusted=True, now=1, keyring=rig.engine._keyring
    )
    with pytest.raises(InUse, match="named by j;"):
        await rig.store.write(delete_variable, change, ref="CITY", force=False)

    await rig.store.write(job_variables.forget, row.key)
    await rig.store.write(delete_variable, change, ref="CITY", force=False)


async def test_a_deleted_job_names_nothing(rig):
    await make(rig, "CITY", "Rome")
    await save(rig, ADMIN, trusted=True, task=Task(noop={"message": "{{CITY}}"}))
    await rig.store.write(
        job_changes.delete_job,
        Change(scope=ADMIN, author=Someone(), trusted=True, now=1),
        ref="j",
        etag="",
    )
    change = VariableChange(
        scope=ADMIN, author=Someone(), trusted=True, now=1, keyring=rig.engine._keyring
    )
    await rig.store.write(delete_variable, change, ref="CITY", force=False)


async def test_declared_parameters_are_checked_filled_and_put_in(rig, agent):
    declared = [
        Parameter(name="day", required=True),
        Parameter(name="count", param_type=2, default={"number_value": 3}),
        Parameter(name="extra"),
    ]
    await rig.job(
        parameters=declared,
        task=Task(noop={"message": "{{params.day}} {{params.count}} [{{params.extra}}]"}),
    )
    [refused] = await rig.trigger(TriggerJobRequest(job_id="job", params=params(typo=1)))
    assert {v.field for v in refused.violations} == {"params.typo", "params.day"}

    made = await rig.run(params=params(day="mon"))
    assert (await get(agent)).task.noop.message == "mon 3 []"
    row = await rig.row(made.run_id)
    assert dict(Struct.FromString(row.params)) == {"day": "mon", "count": 3.0}


async def test_runs_of_one_key_wait_for_each_other_and_not_for_other_keys(rig, agent):
    await rig.job(max_concurrent=1, concurrency_key="{{params.tenant}}", task=Task(noop={}))
    first = await rig.run(params=params(tenant="a"))
    second = await rig.run(params=params(tenant="a"))
    other = await rig.run(params=params(tenant="b"))
    assert (await rig.row(second.run_id)).state_reason == "concurrency"

    running = {(await agent.assignment(n)).assignment.run_id for n in (1, 2)}
    assert running == {first.run_id, other.run_id}
    for message in [m for m in agent.got if m.HasField("assignment")]:
        agent.accept(message)
        agent.finish(message)
    assert (await agent.assignment(3)).assignment.run_id == second.run_id


async def test_a_newer_run_replaces_those_of_its_key_alone(rig, agent):
    await rig.job(concurrency_policy=3, concurrency_key="{{params.tenant}}", task=Task(noop={}))
    older = await rig.run(params=params(tenant="a"))
    other = await rig.run(params=params(tenant="b"))
    await rig.run(params=params(tenant="a"))

    cancelled = await agent.message("cancel")
    [execution] = [
        m
        for m in agent.got
        if m.HasField("assignment") and m.execution_id == cancelled.execution_id
    ]
    assert execution.assignment.run_id == older.run_id != other.run_id


async def test_keys_that_nobody_uses_leave_no_rows(rig, agent):
    agent.auto = True
    await rig.job(max_concurrent=1, concurrency_key="{{params.n}}", task=Task(noop={}))
    for number in range(5):
        made = await rig.run(params=params(n=number))
        await rig.ended(made.run_id)

    def count(tx):
        return tx.conn.exec_driver_sql("SELECT count(*) FROM slots").scalar()

    assert await rig.store.read(count) == 0


async def test_a_key_that_becomes_too_long_is_refused(rig):
    await rig.job(max_concurrent=1, concurrency_key="{{params.n}}", task=Task(noop={}))
    [refused] = await rig.trigger(TriggerJobRequest(job_id="job", params=params(n="x" * 201)))
    assert "concurrency_key" in refused.message


# Output of agents that do not mask it themselves.


def chunk(data, offset, sequence, stream=1):
    return OutputChunk(stream=stream, data=data, offset=offset, sequence=sequence)


async def stored(rig, live_key):
    def read(tx):
        return b"".join(row.data or b"" for row in output.read_chunks(tx, live_key, 0, 1 << 20))

    return await rig.store.read_output(read)


async def test_output_of_an_agent_without_redaction_is_masked_at_every_cut(rig, agent):
    await make(rig, "TOKEN", "hunter22", secret=True)
    await rig.job(task=shell("echo {{TOKEN}}"))
    text = b"begin hunter22 and aHVudGVyMjI= end"
    rng = random.Random(3)
    for nth in range(1, 8):
        made = await rig.run()
        sent = await agent.assignment(nth)
        agent.accept(sent)
        cuts = [0, *sorted(rng.sample(range(1, len(text)), 3)), len(text)]
        for sequence, (start, end) in enumerate(itertools.pairwise(cuts), 1):
            message = pb.ExecutionOutput(execution_id=sent.execution_id, fence=sent.fence)
            message.chunks.append(chunk(text[start:end], start, sequence))
            rig.engine.output.receive(agent.row.key, message, lambda _: None)
        agent.finish(sent, stdout_bytes=len(text), message="said hunter22")
        await rig.ended(made.run_id)
        [attempt] = await rig.attempts(made.run_id)
        kept = await stored(rig, attempt.key)
        assert len(kept) == len(text)
        assert b"hunter22" not in kept
        assert b"aHVudGVyMjI" not in kept
        assert kept.startswith(b"begin *")
        assert "hunter22" not in attempt.message


async def test_output_that_rides_in_a_result_is_masked_too(rig, agent):
    await make(rig, "TOKEN", "hunter22", secret=True)
    await rig.job(task=shell("echo {{TOKEN}}"))
    made = await rig.run()
    sent = await agent.assignment()
    agent.accept(sent)
    message = pb.AgentMessage(execution_id=sent.execution_id, fence=sent.fence)
    message.result.state, message.result.stdout_bytes = 4, 8
    message.result.output.append(chunk(b"hunter22", 0, 1))
    agent.send(message)
    await rig.ended(made.run_id)
    [attempt] = await rig.attempts(made.run_id)

    kept = await rig.store.read(output.get_inline, attempt.key)
    assert b"********" in kept
    assert b"hunter22" not in kept


async def test_an_agent_that_masks_by_itself_is_left_alone(rig, agent):
    await make(rig, "TOKEN", "hunter22", secret=True)
    await rig.job(task=shell("echo {{TOKEN}}"))
    [session] = rig.engine.dispatcher.sessions.values()
    session.redacts = True
    await rig.run()
    sent = await agent.assignment()
    assert list(sent.assignment.secrets) == [b"hunter22"]
    assert rig.engine.table.by_id[sent.execution_id].masks is None


@ON_SQLITE
async def test_a_secret_is_in_no_file_after_a_run(rig, agent, tmp_path, caplog):
    agent.auto = True
    await make(rig, "TOKEN", "hunter22secret", secret=True)
    await rig.job(task=shell("echo {{TOKEN}}", env={"T": "{{TOKEN}}"}))
    made = await rig.run()
    await rig.ended(made.run_id)
    await rig.stop()
    for file in tmp_path.iterdir():
        assert not file.is_file() or b"hunter22secret" not in file.read_bytes()
    assert "hunter22secret" not in caplog.text
