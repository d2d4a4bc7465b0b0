"""Every state with every reason that can be reached is brought about and explained."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from kronforce.core.access import Role, Scope
from kronforce.core.lifecycle import Reason, State
from kronforce.errors import RunNotFound
from kronforce.store import agents as stored_agents
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import job_pb2
from tests.store.rig import ADMIN, FakeAgent, ManualRig, Someone

# Reasons whose features do not exist yet. Who builds one takes it out and adds its case.
LATER = {
    Reason.DEPENDENCY, Reason.WINDOW, Reason.WAITING_INPUT, Reason.ASSERTION,
    Reason.OUTPUT_SCHEMA, Reason.DEPENDENCY_FAILED, Reason.APPROVAL_TIMEOUT,
}  # fmt: skip
GPU = job_pb2.Target(tagged=job_pb2.TaggedTarget(tag="gpu"))
OPS = Scope(principal_id="ops", role=Role.VIEWER, groups=frozenset({"ops"}))

CASES = {}


class Scene:
    """A rig, and agents that leave when the test is over."""

    def __init__(self, rig, stack):
        self.rig = rig
        self._stack = stack

    async def agent(self, name="web-1", **fields):
        row = await self.rig.enrol(name, tags=fields.pop("tags", ()), slots=fields.get("slots", 4))
        return await self.connect(row, **fields)

    async def connect(self, row, **fields):
        found = FakeAgent(self.rig, row, **{"auto": False, **fields})
        await found.connect()
        self._stack.push_async_callback(found.leave)
        return found

    async def running(self, **fields):
        """An agent, and what it has accepted."""
        a = await self.agent()
        await self.rig.job(**fields)
        run = await self.rig.run()
        first = await a.assignment()
        a.accept(first)
        await self.until_state(run, State.RUNNING)
        return a, run.run_id, first

    async def until_state(self, run, state):
        async def look():
            return (await self.rig.row(run.run_id)).state == state

        await self.rig.until(look)

    async def outlasted(self, run):
        """Let time pass until the run has ended: a look that is under way began before."""

        async def over():
            self.rig.clock.advance(1)
            return (await self.rig.row(run.run_id)).finished_at is not None

        await self.rig.until(over)
        return run.run_id

    async def ended_as(self, state, **result):
        """A run whose only attempt was reported so."""
        a, run_id, first = await self.running(timeout_secs=9)
        a.finish(first, state, **result)
        await self.rig.ended(run_id)
        return run_id


def case(state, reason, *told):
    """Register how to come there, and what the sentence must say."""

    def register(scene):
        CASES[state, reason] = (scene, told)
        return scene

    return register


@case(State.PENDING, Reason.SLOT, "for a slot on any agent (1 agent, 1 of 1 slots busy)")
async def _slot(scene):
    return await _crowded(scene, 1)


@case(State.PENDING, Reason.QUEUE, "in the queue for any agent", "1 ahead")
async def _queue(scene):
    return await _crowded(scene, 2)


async def _crowded(scene, place):
    a = await scene.agent(slots=1)
    await scene.rig.job()
    runs = [await scene.rig.run() for _ in range(3)]
    await a.assignment()
    return runs[place].run_id


@case(
    State.PENDING, Reason.LABELS,
    "no enrolled agent fits agents with tag gpu with task type noop (1 without the tag)",
)  # fmt: skip
async def _labels(scene):
    await scene.agent()
    await scene.rig.job(target=GPU)
    return (await scene.rig.run()).run_id


@case(State.PENDING, Reason.OFFLINE, "the agents that fit (web-1) are offline", "gives up in 1 h")
async def _offline(scene):
    await scene.rig.enrol("web-1")
    await scene.rig.job()
    return (await scene.rig.run()).run_id


@case(State.PENDING, Reason.ASSIGNED, "Sent to web-1", "not yet accepted")
async def _assigned(scene):
    a = await scene.agent()
    await scene.rig.job()
    run = await scene.rig.run()
    await a.assignment()
    return run.run_id


@case(State.PENDING, Reason.CONCURRENCY, "job job has 1 run at a time (max_concurrent), held by ")
async def _concurrency(scene):
    await scene.rig.job(max_concurrent=1)
    await scene.rig.run()
    return (await scene.rig.run()).run_id


@case(
    State.PENDING, Reason.RETRY_WAIT, "Waiting for attempt 2 of 3, in 1 m; attempt 1 failed: exit 3"
)
async def _retry_wait(scene):
    a, run_id, first = await scene.running(retry_max=2, retry_delay_secs=60)
    a.finish(first, State.FAILED, exit_code=3, message="exit 3")

    async def two():
        return len(await scene.rig.attempts(run_id)) == 2

    await scene.rig.until(two)
    return run_id


@case(State.RUNNING, Reason.NONE, "Running for ", "on web-1")
async def _running(scene):
    return (await scene.running())[1]


@case(State.RUNNING, Reason.AGENT_UNREACHABLE, "web-1, which is out of reach", "lost in 5 m")
async def _unreachable(scene):
    a, run_id, _ = await scene.running()
    await a.leave()
    return run_id


@case(State.RUNNING, Reason.CANCELLING, "Being ended on web-1, asked for by ci: TERM was sent")
async def _cancelling(scene):
    a, run_id, _ = await scene.running()
    await scene.rig.engine.cancelling.cancel_run(ADMIN, run_id, Someone(), "")
    await a.message("cancel")
    return run_id


@case(State.RUNNING, Reason.STORING_OUTPUT, "Has ended on web-1", "being stored")
async def _storing(scene):
    a, run_id, first = await scene.running()
    a.finish(first, stdout_bytes=10)
    live = scene.rig.engine.table.by_id[first.execution_id]

    async def finishing():
        return live.finishing

    await scene.rig.until(finishing)
    return run_id


@case(State.SUCCEEDED, Reason.NONE, "Succeeded after ", "on web-1.")
async def _succeeded(scene):
    return await scene.ended_as(State.SUCCEEDED)


@case(State.FAILED, Reason.EXIT_CODE, "Failed after ", "exit 137: killed by SIGKILL (out of mem")
async def _exit_code(scene):
    return await scene.ended_as(
        State.FAILED, exit_code=137, state_reason="exit_code", message="exit 137"
    )


@case(State.FAILED, Reason.SIGNAL, "killed by SIGSEGV")
async def _signal(scene):
    return await scene.ended_as(State.FAILED, signal=11, state_reason="signal")


@case(State.FAILED, Reason.START_FAILED, "could not be started: no such program: gzpi")
async def _start_failed(scene):
    return await scene.ended_as(
        State.FAILED, state_reason="start_failed", message="no such program: gzpi"
    )


@case(
    State.FAILED,
    Reason.UNSUPPORTED,
    "Failed on web-1 before it started: the agent cannot run this task.",
)
async def _unsupported(scene):
    a = await scene.agent()
    await scene.rig.job()
    run = await scene.rig.run()
    a.reject(await a.assignment(), pb.REJECT_REASON_UNSUPPORTED)
    await scene.rig.ended(run.run_id)
    return run.run_id


@case(State.FAILED, Reason.UNRESOLVED_VARIABLE, "on web-1 before it started: ", "{{{{NOPE}}}}")
async def _unresolved(scene):
    await scene.agent()
    shell = job_pb2.Task(shell=job_pb2.ShellTask(command="echo {{NOPE}}"))
    await scene.rig.job(task=shell, strict_variables=True)
    run = await scene.rig.run()
    await scene.rig.ended(run.run_id)
    return run.run_id


@case(State.TIMED_OUT, Reason.TIMEOUT, "it ran longer than timeout_secs (9 s)")
async def _timeout(scene):
    return await scene.ended_as(State.TIMED_OUT, state_reason="timeout")


@case(State.TIMED_OUT, Reason.RUN_TIMEOUT, "the run took longer than run_timeout_secs (5 s)")
async def _run_timeout(scene):
    a, run_id, first = await scene.running(run_timeout_secs=5)
    scene.rig.clock.advance(6)
    await a.message("cancel")
    a.finish(first, State.CANCELLED)
    await scene.rig.ended(run_id)
    return run_id


@case(State.CANCELLED, Reason.CANCELLED, "Cancelled after waiting ", "by ci: not needed")
async def _cancelled(scene):
    await scene.rig.job()
    run = await scene.rig.run()
    await scene.rig.engine.cancelling.cancel_run(ADMIN, run.run_id, Someone(), "not needed")
    return run.run_id


@case(
    State.CANCELLED, Reason.AGENT_STOPPED, "Cancelled after ",
    "on web-1: its agent was stopped and ended what it ran (kronforce up, --stop-tasks).",
)  # fmt: skip
async def _agent_stopped(scene):
    return await scene.ended_as(
        State.CANCELLED, state_reason="agent_stopped", message="its agent was stopped"
    )


@case(State.CANCELLED, Reason.REPLACED, "run {newer} of job took its place")
async def _replaced(scene):
    await scene.rig.job(concurrency_policy=3)
    old, newer = await scene.rig.run(), await scene.rig.run()
    await scene.rig.ended(old.run_id)
    scene.words = {"newer": newer.run_id}
    return old.run_id


@case(State.SKIPPED, Reason.OVERLAP, "an earlier run of job was still open")
async def _overlap(scene):
    await scene.rig.job(concurrency_policy=2)
    await scene.rig.run()
    return (await scene.rig.run()).run_id


@case(
    State.SKIPPED,
    Reason.QUEUE_FULL,
    "as many runs of job as may wait were waiting (1 run: queue_limit)",
)
async def _queue_full(scene):
    await scene.rig.job(max_concurrent=1, queue_limit=1)
    return [(await scene.rig.run()).run_id for _ in range(3)][-1]


@case(State.SKIPPED, Reason.NO_AGENT, "not enrolled")
async def _no_agent(scene):
    gone = job_pb2.Target(agent=job_pb2.AgentTarget(agent_id="gone"))
    await scene.rig.job(target=gone)
    return (await scene.rig.run()).run_id


@case(State.EXPIRED, Reason.QUEUE_TIMEOUT, "longer than queue_timeout_secs (7 s)")
async def _queue_timeout(scene):
    await scene.rig.job(queue_timeout_secs=7)
    run = await scene.rig.run()
    return await scene.outlasted(run)


@case(State.EXPIRED, Reason.OFFLINE_TIMEOUT, "no agent that fits came within offline_timeout_secs")
async def _offline_timeout(scene):
    await scene.rig.enrol("web-1")
    await scene.rig.job(offline_timeout_secs=7)
    run = await scene.rig.run()
    return await scene.outlasted(run)


@case(State.LOST, Reason.AGENT_LOST, "stayed away longer than lost_after_secs (300 s)")
async def _agent_lost(scene):
    a, run_id, _ = await scene.running()
    await a.leave()
    scene.rig.clock.advance(301)

    async def ended():
        # A controller that stood still for so long lets the agent come back first.
        scene.rig.clock.advance(1)
        return (await scene.rig.row(run_id)).finished_at

    await scene.rig.until(ended)
    return run_id


@case(State.LOST, Reason.AGENT_RESTARTED, "its agent came back without it; it may have run")
async def _agent_restarted(scene):
    a, run_id, _ = await scene.running()
    await a.leave()
    await scene.connect(a.row)
    await scene.rig.ended(run_id)
    return run_id


@case(State.LOST, Reason.LAUNCHER_DIED, "the launcher that held it died")
async def _launcher_died(scene):
    return await scene.ended_as(State.LOST, state_reason="launcher_died")


@case(State.LOST, Reason.QUARANTINED, "three attempts were lost")
async def _quarantined(scene):
    a, run_id, first = await scene.running(delivery=2)
    for nth in (2, 3, 4):
        a.finish(first, State.LOST, state_reason="launcher_died")
        if nth < 4:
            first = await a.assignment(nth)
            a.accept(first)
    await scene.rig.ended(run_id)
    return run_id


@pytest.fixture
def rig_class():
    return ManualRig


@asynccontextmanager
async def scene_on(rig):
    async with AsyncExitStack() as stack:
        yield Scene(rig, stack)


@pytest.mark.parametrize("where", CASES, ids=lambda w: f"{w[0].word}-{w[1] or 'none'}")
async def test_each_state_and_reason_is_explained(rig, where):
    bring_about, told = CASES[where]
    async with scene_on(rig) as scene:
        scene.words = {}
        run_id = await bring_about(scene)
        explained = await rig.engine.explaining.explain(ADMIN, run_id)
    state, reason = where
    for text in told:
        assert text.format(**scene.words) in explained.sentence
    assert explained.sentence.endswith(".")
    assert ".." not in explained.sentence
    assert explained.next_steps
    assert all("{" not in step for step in explained.next_steps)
    if state is not State.SUCCEEDED:
        (one,) = explained.executions
        assert (one.facts.state, one.facts.reason) == (state, reason)
    if reason is Reason.CONCURRENCY:
        assert len(one.facts.held_by) == 1


def test_every_reason_that_can_be_reached_has_its_case():
    walked = {reason for _, reason in CASES}
    assert set(Reason) - walked - LATER == set(), "add a case that brings it about"
    assert walked & LATER == set()


def test_every_terminal_state_that_can_be_reached_has_its_case():
    walked = {state for state, _ in CASES}
    assert set(State) - walked == {State.PENDING_APPROVAL, State.REJECTED}


async def test_targets_that_run_are_counted_as_running(rig):
    async with scene_on(rig) as scene:
        one, two = await scene.agent("a1"), await scene.agent("a2", boot="c")
        await rig.job(target=job_pb2.Target(all=job_pb2.AllTarget()))
        run = await rig.run()
        one.accept(await one.assignment())
        await two.assignment()
        await scene.until_state(run, State.RUNNING)
        told = await rig.engine.explaining.explain(ADMIN, run.run_id)
    assert "on 2 targets (1 running, 1 pending)" in told.sentence


async def test_what_waited_too_long_for_its_own_job_is_not_told_to_get_more_agents(rig):
    async with scene_on(rig) as scene:
        await scene.agent()
        await rig.job(max_concurrent=1, queue_timeout_secs=7)
        await rig.run()
        run_id = await scene.outlasted(await rig.run())
        told = await rig.engine.explaining.explain(ADMIN, run_id)
    assert "(7 s) for earlier runs of its job (max_concurrent)." in told.sentence
    assert "raise max_concurrent or queue_timeout_secs of job job" in told.next_steps
    assert not any("agents" in step for step in told.next_steps)


@pytest.mark.parametrize("place", [0, 2])
async def test_agents_that_drain_are_not_busy(rig, place):
    async with scene_on(rig) as scene:
        a = await scene.agent()
        await rig.job()
        rig.engine.sessions.on_drain(a.row.key, True)
        runs = [await rig.run() for _ in range(3)]
        told = await rig.engine.explaining.explain(ADMIN, runs[place].run_id)
    assert told.reason == Reason.OFFLINE
    assert "the agents that fit (web-1) are draining: nothing new is given to them" in told.sentence
    assert "end the draining: kronforce agent drain web-1 --off" in told.next_steps


async def test_a_run_of_several_targets_tells_of_those_that_did_not_succeed(rig):
    async with scene_on(rig) as scene:
        one, two = await scene.agent("a1"), await scene.agent("a2", boot="c")
        await rig.job(target=job_pb2.Target(all=job_pb2.AllTarget()))
        run_id = (await rig.run()).run_id
        first, second = await one.assignment(), await two.assignment()
        for a, it, state in ((one, first, State.SUCCEEDED), (two, second, State.FAILED)):
            a.accept(it)
            a.finish(it, state, exit_code=0 if state == 4 else 2, message="exit 2")
        await rig.ended(run_id)
        explained = await rig.engine.explaining.explain(ADMIN, run_id)
    assert "on 2 targets (1 succeeded, 1 failed). Target a2: Failed" in explained.sentence
    assert [each.row.agent_name for each in explained.executions] == ["a2"]
    assert "--failed" in explained.next_steps[-1]


async def test_only_what_the_caller_may_see_is_named(rig):
    row = await rig.enrol("secret-1")
    await rig.store.write(
        lambda tx: stored_agents._change(tx, row.key, allowed_groups='["others"]')
    )
    rig.engine.directory.put(await rig.store.read(stored_agents.get_agent, row.key))
    await rig.job(group="ops")
    run_id = (await rig.run()).run_id

    explained = await rig.engine.explaining.explain(OPS, run_id)
    assert "secret-1" not in str(explained.executions)
    seen = await rig.engine.explaining.explain(ADMIN, run_id)
    assert [agent.verdict for agent in seen.executions[0].facts.agents] == ["not_allowed"]

    others = Scope(principal_id="x", role=Role.VIEWER, groups=frozenset({"others"}))
    with pytest.raises(RunNotFound):
        await rig.engine.explaining.explain(others, run_id)
