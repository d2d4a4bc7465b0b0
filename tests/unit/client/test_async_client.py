"""The asynchronous client against a server on a real socket."""

import asyncio

import grpc
import pytest

from kronforce_client import (
    AsyncClient,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    RunFailed,
    TimedOut,
    Unauthenticated,
    Unreachable,
    trigger_request,
)
from tests.fakes.api_server import KEY, STATES, STDERR, STDOUT, FakeController, Refused, Story


@pytest.fixture
async def fake():
    async with FakeController() as server:
        yield server


@pytest.fixture
async def kf(fake):
    async with AsyncClient(fake.address, KEY) as client:
        yield client


def away(times=1):
    return Refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "the store is away"), times


async def test_a_job_is_made_from_plain_data_and_read_by_name(kf):
    made = await kf.jobs.create({"name": "hello", "task": {"type": "shell", "command": "echo"}})
    read = await kf.jobs.get("hello")
    assert read == made
    assert read.task.shell.command == "echo"


async def test_a_missing_job_is_not_found_with_its_reason(kf):
    with pytest.raises(NotFound) as caught:
        await kf.jobs.get("nope")
    assert caught.value.reason == "JOB_NOT_FOUND"


async def test_a_taken_name_is_a_conflict(kf, fake):
    fake.add_job("hello")
    with pytest.raises(Conflict) as caught:
        await kf.jobs.create({"name": "hello"})
    assert caught.value.reason == "NAME_TAKEN"


async def test_wrong_input_names_the_field_and_what_it_must_be(kf):
    with pytest.raises(Invalid) as caught:
        await kf.jobs.create({"name": "x", "schedule": {"type": "cron", "value": "0 6 * * 1-5"}})
    assert caught.value.field == "schedule.value"
    assert "6" in caught.value.hint


async def test_a_wrong_key_is_told_apart_from_a_role_that_does_not_suffice(fake, kf):
    async with AsyncClient(fake.address, "kf_wrong") as stranger:
        with pytest.raises(Unauthenticated):
            await stranger.jobs.get("x")
    fake.refuse(
        "GetJob",
        Refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_FORBIDS", "no", permission="jobs.read"),
    )
    with pytest.raises(Forbidden) as caught:
        await kf.jobs.get("x")
    assert caught.value.needs == "jobs.read"


async def test_a_stopped_server_is_unreachable_and_says_where(fake):
    await fake.stop()
    async with AsyncClient(fake.address, KEY) as client:
        with pytest.raises(Unreachable) as caught:
            await client.system.health()
    assert fake.address in str(caught.value)
    assert caught.value.detail == "connection refused"


async def test_a_trigger_is_repeated_while_the_store_is_away_and_makes_one_run(kf, fake):
    fake.add_job("hello")
    fake.refuse("TriggerJob", *away(times=2))
    reply = await kf.jobs.trigger("hello")
    assert fake.calls.count("TriggerJob") == 3
    assert list(fake.runs) == [reply.run.id]


async def test_an_update_is_never_repeated(kf, fake):
    fake.add_job("hello")
    fake.refuse("UpdateJob", *away())
    with pytest.raises(Unreachable):
        await kf.jobs.update("hello", {"name": "hello"})
    assert fake.calls.count("UpdateJob") == 1


async def test_the_same_request_id_gives_the_same_run(kf, fake):
    fake.add_job("hello")
    first = await kf.jobs.trigger("hello", request_id="r1")
    second = await kf.jobs.trigger("hello", request_id="r1")
    assert second.replayed
    assert first.run.id == second.run.id


async def test_params_arrive_as_they_were_given(kf, fake):
    fake.add_job("hello")
    reply = await kf.jobs.trigger("hello", params={"day": "2026-11-20", "n": 3, "deep": [None]})
    assert dict(reply.run.params) == {
        "day": "2026-11-20",
        "n": 3.0,
        "deep": reply.run.params["deep"],
    }


async def test_many_are_fired_at_once_and_each_has_its_own_result(kf, fake):
    fake.add_job("hello")
    reply = await kf.jobs.trigger_many([trigger_request("hello"), trigger_request("nope")])
    assert reply.results[0].run_id in fake.runs
    assert reply.results[1].error.message == 'there is no job "nope"'


async def test_a_list_is_read_page_by_page(kf, fake):
    for number in range(250):
        fake.add_job(f"job-{number:03}")
    names = [job.name async for job in kf.jobs.list()]
    assert len(names) == 250
    assert names == sorted(names)
    assert fake.calls.count("ListJobs") == 3


async def test_a_run_is_followed_to_its_result(kf, fake):
    fake.add_job("hello", Story(output=[(STDOUT, b"one\n"), (STDERR, b"two\xff"), (STDOUT, b"3")]))
    run = await kf.jobs.run("hello")
    chunks = [(chunk.stream, chunk.data) async for chunk in run.output()]
    assert chunks == [(STDOUT, b"one\n"), (STDERR, b"two\xff"), (STDOUT, b"3")]
    assert (await run.result()).state == STATES.EXECUTION_STATE_SUCCEEDED


async def test_a_failed_run_raises_with_its_last_lines_and_address(kf, fake):
    fake.add_job(
        "bad",
        Story(
            output=[(STDERR, b"first\nlast\n")],
            state=STATES.EXECUTION_STATE_FAILED,
            message="exit 3",
            exit_code=3,
        ),
    )
    run = await kf.jobs.run("bad")
    with pytest.raises(RunFailed) as caught:
        await run.result()
    assert caught.value.last_lines == ["first", "last"]
    assert run.id in caught.value.address
    assert caught.value.state == "failed"


async def test_output_goes_on_at_its_offset_after_the_stream_was_cut(kf, fake):
    end = asyncio.Event()
    fake.add_job("hello", Story(output=[(STDOUT, b"a" * 10), (STDERR, b"b" * 5)], until=end))
    told = []
    run = await kf.jobs.run("hello", on_interruption=told.append)
    output = run.output()
    assert [(await anext(output)).data for _ in range(2)] == [b"a" * 10, b"b" * 5]
    fake.cut_streams()
    end.set()
    assert [chunk.data async for chunk in output] == []
    positions = {each.stream: each.offset for each in fake.seen_watches[-1].positions}
    assert positions == {STDOUT: 10, STDERR: 5}
    assert fake.seen_watches[-1].cursor
    assert [each.resumed for each in told] == [False, True]


async def test_output_that_comes_twice_after_a_cut_is_given_once(kf, fake):
    output = [(STDOUT, b"a" * 10), (STDERR, b"b" * 5), (STDOUT, b"c" * 7)]
    fake.add_job("hello", Story(output=output, cut_after=2))
    run = await kf.jobs.run("hello")
    assert [(chunk.stream, chunk.data) async for chunk in run.output()] == output


async def test_following_survives_a_restart_of_the_server(kf, fake):
    end = asyncio.Event()
    fake.add_job("long", Story(output=[(STDOUT, b"x")], until=end))
    run = await kf.jobs.run("long")
    output = run.output()
    assert (await anext(output)).data == b"x"
    await fake.stop()
    await fake.start(fake.port)
    end.set()
    assert [chunk.data async for chunk in output] == []
    assert (await run.wait()).state == STATES.EXECUTION_STATE_SUCCEEDED


async def test_a_run_that_was_asked_for_before_the_first_frame_is_fired_once(kf, fake):
    fake.add_job("hello")
    fake.refuse("RunJob", *away(times=2))
    await (await kf.jobs.run("hello")).result()
    assert len(fake.runs) == 1


async def test_leaving_a_watch_ends_its_stream_on_the_server_and_cancels_nothing(kf, fake):
    end = asyncio.Event()
    fake.add_job("long", Story(until=end))
    run = await kf.jobs.run("long")
    async with run.output() as output:
        await anext(output)
        assert fake.open_streams == 1
    await run.close()
    await fake.until(lambda: fake.open_streams == 0)
    assert not fake.runs[run.id].HasField("finished_at")
    end.set()


async def test_a_watch_that_is_dropped_without_care_ends_as_well(kf, fake):
    end = asyncio.Event()
    fake.add_job("long", Story(until=end))
    reply = await kf.jobs.trigger("long")
    async for _ in kf.runs.watch(runs=[reply.run.id]):
        break
    await fake.until(lambda: fake.open_streams == 0)
    end.set()


async def test_a_watch_of_a_job_sees_runs_that_begin_later(kf, fake):
    fake.add_job("hello")
    async with kf.runs.watch(job="hello") as updates:
        first = asyncio.ensure_future(anext(updates))
        await fake.until(lambda: fake.seen_watches)
        reply = await kf.jobs.trigger("hello")
        assert (await first).run_id == reply.run.id


async def test_waiting_for_too_long_is_timed_out(kf, fake):
    end = asyncio.Event()
    fake.add_job("long", Story(until=end))
    reply = await kf.jobs.trigger("long")
    with pytest.raises(TimedOut):
        await kf.runs.wait(reply.run.id, timeout_secs=0.05)
    end.set()


async def test_the_end_of_an_id_stands_for_the_run(kf, fake):
    fake.add_job("hello")
    reply = await kf.jobs.trigger("hello")
    assert await kf.runs.resolve(reply.run.id[-6:]) == reply.run.id
    assert await kf.runs.resolve("@last") == reply.run.id
    with pytest.raises(NotFound):
        await kf.runs.resolve("ffffffff0")


async def test_events_are_followed_from_a_cursor_over_a_cut(kf, fake):
    fake.add_event("job.created", "one")
    async with kf.events.watch(cursor="0") as events:
        assert (await anext(events)).message == "one"
        fake.cut_streams()
        fake.add_event("job.created", "two")
        assert (await anext(events)).message == "two"


async def test_stored_output_is_read_from_an_offset(kf, fake):
    fake.add_job("hello", Story(output=[(STDOUT, b"0123456789")]))
    run = await (await kf.jobs.run("hello")).result()
    chunks = kf.executions.output(run.executions[0].id, stdout_offset=4)
    assert b"".join([chunk.data async for chunk in chunks]) == b"456789"


async def test_agents_and_keys_have_their_verbs(kf, fake):
    fake.add_agent("web-1")
    drained = await kf.agents.drain("web-1")
    assert drained.state == drained.state.__class__(3)
    assert [agent.name async for agent in kf.agents.list()] == ["web-1"]
    assert (await kf.agents.create_join_token(ttl_secs=60)).token.startswith("kfj_")
    made = await kf.keys.create("ci", 2)
    assert made.secret.startswith("kf_")
    assert (await kf.keys.revoke("ci")).HasField("revoked_at")
    assert (await kf.keys.whoami()).key.name == "admin"
    await kf.agents.delete("web-1")
    assert (await kf.system.status()).agents == 0
