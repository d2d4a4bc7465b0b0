"""Timeouts, cancels, and everything a task may leave behind: nothing survives (N6)."""

from __future__ import annotations

import os
import signal

import pytest

from kronforce_agent.launcher import protocol
from tests.system.launcher.rig import ENV, Rig, alive, gone, until, zombies_of

SETSID = "(setsid sleep {0} >/dev/null 2>&1 &);"
DAEMON = "(setsid sh -c 'sleep {0} & sleep {0} & exit' >/dev/null 2>&1 &);"
WIPED = "(setsid env -i sleep {0} >/dev/null 2>&1 &);"
SAME_GROUP = "sleep {0} >/dev/null 2>&1 &"
LEFTOVERS = pytest.mark.parametrize(
    "leave", [SAME_GROUP, SETSID, DAEMON, WIPED], ids=["background", "setsid", "daemon", "wiped"]
)


@LEFTOVERS
async def test_what_a_task_leaves_behind_is_killed_after_its_end(
    rig: Rig, token: str, leave: str
) -> None:
    task = rig.spawn(f"{leave.format(token)} sleep 0.1; echo done")

    end = await rig.complete(task)

    assert end.exit_code == 0
    assert rig.output(task) == b"done\n"
    assert end.killed == leave.count("{0}")
    await gone(token)


@LEFTOVERS
async def test_a_cancel_ends_the_whole_tree(rig: Rig, token: str, leave: str) -> None:
    task = rig.spawn(f"{leave.format(token)} echo ready; sleep {token}")
    await rig.wait(lambda: rig.output(task) or None)

    rig.client.cancel(task, rig.events[-1].fence)  # type: ignore[union-attr]

    end = await rig.exited(task)
    assert (end.cancelled, end.timed_out, end.exit_code, end.signal) == (True, False, None, 15)
    await gone(token)


async def test_a_run_that_leaves_nothing_behind_has_killed_nothing(rig: Rig) -> None:
    assert (await rig.run("true; (exit 3)")).killed == 0


async def test_who_obeys_a_cancel_was_not_killed_and_who_ignores_it_was(
    rig: Rig, token: str
) -> None:
    deaf = f"sh -c 'trap \"\" TERM; echo ready; sleep {token}; sleep {token}'"
    task = rig.spawn(f"sleep {token} & {deaf} & wait")
    await rig.wait(lambda: rig.output(task) or None)

    rig.client.cancel(task, rig.events[-1].fence, grace_secs=0.1)  # type: ignore[union-attr]

    end = await rig.exited(task)
    assert (end.cancelled, end.signal, end.killed) == (True, 15, 2)


async def test_a_timeout_kills_a_shell_that_ignores_term(rig: Rig, token: str) -> None:
    task = rig.spawn(
        f"trap '' TERM; echo ready; sleep {token}; sleep {token}",
        timeout_secs=0.3,
        kill_grace_secs=0.3,
    )

    end = await rig.exited(task)

    assert (end.timed_out, end.cancelled, end.signal) == (True, False, 9)
    await gone(token)


async def test_a_task_that_obeys_term_may_say_goodbye(rig: Rig) -> None:
    task = rig.spawn("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    await rig.wait(lambda: rig.output(task) or None)

    rig.client.cancel(task, 1)

    end = await rig.complete(task)
    assert (end.cancelled, end.exit_code) == (True, 7)
    assert rig.output(task) == b"ready\nbye\n"


async def test_children_are_killed_when_only_the_main_process_obeys_term(
    rig: Rig, token: str
) -> None:
    stubborn = f"sh -c 'trap \"\" TERM; sleep {token}; sleep {token}' &"
    task = rig.spawn(f"{stubborn} echo ready; wait", kill_grace_secs=0.3)
    await rig.wait(lambda: rig.output(task) or None)

    rig.client.cancel(task, 1)

    assert (await rig.exited(task)).cancelled
    await gone(token)


async def test_a_shorter_grace_shortens_the_one_that_runs(rig: Rig, token: str) -> None:
    task = rig.spawn(f"trap '' TERM; echo ready; sleep {token}; sleep {token}")
    await rig.wait(lambda: rig.output(task) or None)
    rig.client.cancel(task, 1, grace_secs=3600)

    rig.client.cancel(task, 1, grace_secs=0)

    assert (await rig.exited(task)).signal == 9


async def test_a_stopped_task_is_ended_too(rig: Rig, token: str) -> None:
    task = rig.spawn(f"sleep {token} & echo ready; kill -STOP $!; kill -STOP $$")
    await rig.wait(lambda: rig.output(task) or None)

    rig.client.cancel(task, 1, grace_secs=1)

    assert (await rig.exited(task)).cancelled
    await gone(token)


async def test_a_fork_bomb_ends_with_its_task(rig: Rig, token: str) -> None:
    """Bounded, so that a failing test cannot take the machine with it."""
    bomb = f"b() {{ [ $1 -gt 7 ] || {{ b $(($1+1)) & b $(($1+1)) & }}; exec sleep {token}; }}; b 0"
    task = rig.spawn(bomb)
    await until(lambda: len(alive(token)) > 50)

    rig.client.cancel(task, 1, grace_secs=0)

    assert (await rig.exited(task)).cancelled
    await gone(token)
    await until(lambda: not zombies_of(rig.client.pid))


async def test_a_bomb_that_goes_on_forking_ends_with_its_task(rig: Rig, token: str) -> None:
    chain = 'f() { (setsid sh -c "$F" >/dev/null 2>&1 &) ; sleep 0.02; }; f; exec sleep 0.05'
    task = rig.spawn(f'sh -c "$F"; sleep {token}', env={**ENV, "F": f": {token}; {chain}"})
    await until(lambda: len(alive(token)) > 3)

    rig.client.cancel(task, 1, grace_secs=0)

    await rig.exited(task)
    await gone("setsid\0sh\0-c\0")
    await gone(token)


async def test_background_work_is_left_alone_where_the_job_allows_it(rig: Rig, token: str) -> None:
    task = rig.spawn(SETSID.format(token) + " echo done", leave_background=True)
    await rig.complete(task)
    await until(lambda: alive(f"sleep\0{token}"))

    await rig.run("true")
    await rig.run("true")

    assert len(alive(f"sleep\0{token}")) == 1
    for pid in alive(f"sleep\0{token}"):
        os.kill(pid, signal.SIGKILL)
    await gone(token)


async def test_another_tasks_daemon_is_not_taken_for_a_leftover(rig: Rig, token: str) -> None:
    owner = rig.spawn(WIPED.format(token) + f" {SETSID.format(token)} echo ready; sleep {token}")
    await rig.wait(lambda: rig.output(owner) or None)
    await until(lambda: len(alive(f"sleep\0{token}")) == 3)

    for _ in range(5):
        await rig.run("true")

    assert len(alive(f"sleep\0{token}")) == 3
    rig.client.cancel(owner, 1, grace_secs=0)
    await rig.exited(owner)
    await gone(token)


async def test_who_still_writes_after_the_end_is_cut_off(rig: Rig, token: str) -> None:
    task = rig.spawn(f"(while :; do echo more; sleep 0.01; done) & echo first; : {token}")

    end = await rig.complete(task)

    assert end.output_cut
    assert end.exit_code == 0
    assert rig.output(task).startswith(b"first\n") or rig.output(task).startswith(b"more\n")
    assert len(rig.output(task)) == end.stdout_end


async def test_output_of_a_background_writer_within_the_second_is_kept(rig: Rig) -> None:
    task = rig.spawn("(sleep 0.2; echo late) & echo first")

    end = await rig.complete(task)

    assert not end.output_cut
    assert rig.output(task) == b"first\nlate\n"


async def test_cancelling_what_is_over_or_unknown_changes_nothing(rig: Rig) -> None:
    rig.auto_ack = False
    task = rig.spawn("exit 4")
    await rig.exited(task)

    rig.client.cancel(task, 1)
    rig.client.cancel("nobody", 1)

    held = await rig.fresh_inventory()
    assert held[task].exit is not None
    assert (held[task].exit.exit_code, held[task].exit.cancelled) == (4, False)


async def test_a_hundred_trees_end_together(rig: Rig, token: str) -> None:
    tasks = [rig.spawn(f"{SETSID.format(token)} sleep {token}; :") for _ in range(100)]
    for number, task in enumerate(tasks):
        await rig.started(task)
        rig.client.cancel(task, number + 1, grace_secs=0)

    for task in tasks:
        assert (await rig.exited(task)).cancelled
    await gone(token)


async def test_a_shutdown_ends_all_tasks_and_the_launcher(rig: Rig, token: str) -> None:
    tasks = [rig.spawn(f"{SETSID.format(token)} sleep {token}") for _ in range(3)]
    for task in tasks:
        await rig.started(task)

    rig.client.shutdown(grace_secs=0)

    for task in tasks:
        assert (await rig.exited(task)).cancelled
    await rig.client.wait_closed()
    await gone(token)
    refused = [e for e in rig.events if isinstance(e, protocol.SpawnFailed)]
    assert refused == []
