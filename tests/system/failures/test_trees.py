"""Failures 26 and 27, a tenth of the sizes: fork bombs, daemons, orphans; nobody is left."""

import os
from pathlib import Path

import pytest

from tests.system.failures.jobs import ended, fire, outcome, wrote
from tests.system.rig.cluster import Cluster, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUNDS = 100
BATCH = 20
GRACE = {"kill_grace_secs": 1}

# Each leaves something behind that a kill of the process group alone would miss.
LEAVERS = {
    "a child in the background": "sleep 3600 & echo $!",
    "a daemon": "setsid sh -c 'sleep 3600 & echo $!; exit 0' < /dev/null",
    "a daemon's daemon": "(setsid sh -c '(setsid sleep 3600) & sleep 3600' &) ; echo on",
    "one that hears no TERM": "(trap '' TERM HUP; setsid sleep 3600) & echo on",
}


def with_mark(mark: str) -> list[int]:
    """Processes whose environment or command line has the mark, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if state != "Z" and mark.encode() in text:
            found.append(int(entry.name))
    return found


def zombies_of(pid: int) -> list[str]:
    """Its children that it has not reaped."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z" and int(fields[1]) == pid:
            found.append(entry.name)
    return found


async def nobody_left(mark: str) -> None:
    async def gone() -> bool:
        return not with_mark(mark)

    await until(gone, f"processes with {mark} to be gone", 20.0)


@pytest.mark.parametrize("command", LEAVERS.values(), ids=LEAVERS)
async def test_what_a_task_leaves_behind_goes_with_it(shared: Cluster, command: str) -> None:
    mark = f"left-{os.urandom(8).hex()}"
    run = await ended(shared, await fire(shared, mark, f"export M={mark}; {command}"))
    await nobody_left(mark)
    assert outcome(run) == ("succeeded", "")


async def test_a_hundred_daemonising_tasks_leave_no_process_and_no_zombie(
    shared: Cluster,
) -> None:
    mark = f"round-{os.urandom(8).hex()}"
    command = f"export M={mark}; setsid sleep 3600 & setsid sh -c 'sleep 3600 & exit' & exit 0"
    await ended(shared, await fire(shared, "daemons", command))
    client = shared.client
    for _ in range(ROUNDS // BATCH):
        runs = [(await client.jobs.trigger("daemons")).run.id for _ in range(BATCH)]
        for run_id in runs:
            assert outcome(await ended(shared, run_id)) == ("succeeded", "")
    await nobody_left(mark)
    (launcher,) = shared.launchers()

    async def reaped() -> bool:
        return not zombies_of(launcher)

    await until(reaped, "every zombie to be reaped", 10.0)


async def test_a_fork_bomb_is_ended_whole_by_a_cancel(shared: Cluster) -> None:
    mark = f"bomb-{os.urandom(8).hex()}"
    # Bounded in breadth, endless in time: each that dies is replaced by its siblings.
    bomb = "b() { sleep 0.2; [ $1 -gt 0 ] && { b $(($1-1)) & b $(($1-1)) & }; sleep 1; b $1 & }"
    command = f"export M={mark}; ulimit -u 4000; {bomb}; echo on; b 4 & b 4 & wait; sleep 60"
    run_id = await fire(shared, "bomb", command, timeout_secs=0, **GRACE)
    await wrote(shared, run_id, 3)
    await shared.client.runs.cancel(run_id)
    run = await ended(shared, run_id, 30.0)
    await nobody_left(mark)
    assert outcome(run)[0] == "cancelled"


async def test_a_timeout_ends_the_whole_tree(shared: Cluster) -> None:
    mark = f"slow-{os.urandom(8).hex()}"
    command = f"export M={mark}; trap '' TERM; (setsid sleep 3600) & sleep 3600; sleep 3600"
    run_id = await fire(shared, "slow", command, timeout_secs=1, **GRACE)
    run = await ended(shared, run_id, 30.0)
    await nobody_left(mark)
    assert outcome(run)[0] == "timed_out"
