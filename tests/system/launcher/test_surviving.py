"""The agent goes and comes back, or the launcher dies: output, exits and processes (N4, N5, N6)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from kronforce_agent.launcher import cgroup, cleanup, client, loop, paths, protocol
from kronforce_agent.launcher.client import LauncherClient, LauncherError
from kronforce_agent.launcher.protocol import EXITED, RUNNING
from tests.system.launcher.rig import ENV, Rig, alive, ended, gone, launcher_pids, memory_of, until
from tests.system.launcher.test_kills import deny_cgroup

NUMBERS = "seq 1 60000; sleep 0.2; seq 60001 120000"
NUMBERS_SHA = hashlib.sha256(b"".join(b"%d\n" % n for n in range(1, 120001))).hexdigest()


async def test_a_task_outlives_its_agent_and_its_output_is_whole(rig: Rig) -> None:
    task = rig.spawn(NUMBERS, credit=10_000)
    await rig.wait(lambda: rig.output(task) or None)
    rig.client.close()
    await rig.closed.wait()

    await rig.start()
    held = await rig.inventory()
    assert held[task].state in (RUNNING, EXITED)
    rig.client.credit(task, held[task].fence, 1 << 30)
    await rig.wait(lambda: complete(rig, task) or None)

    assert hashlib.sha256(rig.output(task)).hexdigest() == NUMBERS_SHA
    end = held[task].exit or await rig.exited(task)
    assert end.exit_code == 0


def more_than(rig: Rig, task: str, seen: int) -> bool | None:
    return len(rig.chunks(task)) > seen or complete(rig, task) or None


def complete(rig: Rig, task: str) -> bool:
    return len(rig.output(task)) == sum(len(b"%d\n" % n) for n in range(1, 120001))


async def test_what_was_sent_but_not_acknowledged_is_sent_again(rig: Rig) -> None:
    rig.auto_ack = False
    task = rig.spawn("echo one; sleep 0.05; echo two; exit 6")
    await rig.complete(task)
    first = rig.chunks(task)
    rig.client.ack_output(task, 1, first[0].seq)
    rig.client.close()
    await rig.closed.wait()
    rig.events.clear()

    await rig.start()

    held = (await rig.inventory())[task]
    assert (held.state, held.acked_seq, held.stdout_acked, held.stdout_end) == (EXITED, 1, 4, 8)
    assert held.exit is not None
    assert held.exit.exit_code == 6
    rig.client.credit(task, 1, 65536)
    await rig.wait(lambda: rig.chunks(task) or None)
    assert rig.chunks(task) == first[1:]


async def test_an_exit_is_kept_until_it_is_acknowledged(rig: Rig) -> None:
    rig.auto_ack = False
    task = rig.spawn("exit 9")
    await rig.exited(task)
    for _ in range(2):
        rig.client.close()
        await rig.closed.wait()
        rig.closed.clear()
        rig.events.clear()
        await rig.start()
        held = await rig.inventory()
        assert held[task].exit is not None
        assert held[task].exit.exit_code == 9

    rig.client.ack_exit(task, 1)

    assert await rig.fresh_inventory() == {}


async def test_a_new_connection_closes_the_old_one(rig: Rig, tmp_path: Path) -> None:
    other = Rig(rig.data_dir)

    await other.start()

    await asyncio.wait_for(rig.closed.wait(), 5)
    assert other.client.boot_id == rig.client.boot_id
    assert await other.inventory() == {}
    other.client.close()


async def test_a_timeout_counts_without_an_agent(rig: Rig, token: str) -> None:
    task = rig.spawn(f"sleep {token}", timeout_secs=0.3)
    main = (await rig.started(task)).pid
    rig.client.close()
    await rig.closed.wait()
    await ended(main)

    await rig.start()

    held = await rig.inventory()
    end = held[task].exit or await rig.exited(task)
    assert end.timed_out


async def test_without_credit_a_task_waits_and_nothing_is_lost(rig: Rig) -> None:
    rig.auto_credit = False
    task = rig.spawn("seq 1 100000; echo end >&2", credit=1000)
    await rig.wait(lambda: rig.output(task) or None)
    before = memory_of(rig.client.pid)
    assert (await rig.fresh_inventory())[task].state == RUNNING

    rig.client.credit(task, 1, 1 << 30)

    await rig.complete(task)
    assert rig.output(task) == b"".join(b"%d\n" % n for n in range(1, 100001))
    assert memory_of(rig.client.pid) - before < 10 << 20


async def test_with_an_agent_that_has_no_controller_a_task_does_not_wait(rig: Rig) -> None:
    rig.auto_credit = False
    task = rig.spawn(NUMBERS, credit=1000)
    await rig.wait(lambda: rig.output(task) or None)
    rig.client.offline(True)

    end = await rig.exited(task)

    assert end.exit_code == 0
    assert len(rig.output(task)) < end.stdout_end
    rig.client.offline(False)
    rig.client.credit(task, 1, 1 << 30)
    await rig.wait(lambda: complete(rig, task) or None)
    assert hashlib.sha256(rig.output(task)).hexdigest() == NUMBERS_SHA


async def test_a_task_that_starts_without_a_controller_does_not_wait(rig: Rig) -> None:
    rig.auto_credit = False
    rig.client.offline(True)

    end = await rig.run("seq 1 100000", credit=0)

    assert rig.output(end.execution_id) == b""
    rig.client.credit(end.execution_id, end.fence, 1 << 30)
    await rig.complete(end.execution_id)


async def test_once_the_controller_is_back_credit_decides_again(rig: Rig, tmp_path: Path) -> None:
    rig.auto_credit = False
    go = tmp_path / "go"
    task = rig.spawn(f"until [ -e {go} ]; do sleep 0.01; done; seq 1 100000; echo end", credit=0)
    await rig.started(task)
    rig.client.offline(True)
    rig.client.offline(False)
    await rig.fresh_inventory()
    go.touch()
    rig.client.credit(task, 1, 1000)
    await rig.wait(lambda: rig.output(task) or None)

    held = (await rig.fresh_inventory())[task]

    assert held.state == RUNNING
    rig.client.credit(task, 1, 1 << 30)
    await rig.complete(task)


async def test_a_flood_without_an_agent_is_spooled_up_to_the_limit(offline_rig: Rig) -> None:
    rig = await offline_rig.start(spool_max=4 << 20)
    limit = 4 << 20
    task = rig.spawn("sleep 0.2; seq 1 3000000; echo end", credit=0)
    main, pid = (await rig.started(task)).pid, rig.client.pid
    rig.client.close()
    await rig.closed.wait()
    spool = rig.data_dir / "spool"
    await ended(main)
    assert sum(file.stat().st_size for file in spool.rglob("*.out")) <= limit
    assert memory_of(pid) < 80 << 20

    await rig.start()

    held = (await rig.inventory())[task]
    rig.client.credit(task, held.fence, 1 << 40)
    end = held.exit or await rig.exited(task)
    await rig.wait(lambda: True if covered(rig, task) == end.stdout_end else None)
    gaps = [chunk for chunk in rig.chunks(task) if chunk.gap]
    assert len(gaps) == 1
    text = rig.output(task)
    assert text.startswith(b"1\n2\n3\n")
    assert text.endswith(b"2999999\n3000000\nend\n")
    await until(lambda: not list(spool.rglob("*.out")))


def covered(rig: Rig, task: str) -> int:
    return max((c.offset + (c.gap or len(c.data)) for c in rig.chunks(task)), default=0)


async def test_a_full_spool_is_told_to_the_agent(offline_rig: Rig) -> None:
    rig = await offline_rig.start(spool_max=2 << 20)
    task = rig.spawn("sleep 0.1; seq 1 2000000", credit=0)
    main = (await rig.started(task)).pid
    rig.client.close()
    await rig.closed.wait()
    await ended(main)

    await rig.start()
    assert rig.client.spool_full_at_start
    rig.client.credit(task, 1, 1 << 40)

    state = await rig.wait(
        lambda: next((e for e in rig.events if isinstance(e, protocol.SpoolState)), None)
    )
    assert not state.full


@pytest.mark.parametrize("with_cgroup", [True, False], ids=["cgroup", "without cgroup"])
async def test_after_the_launchers_death_nothing_survives(
    rig: Rig, token: str, with_cgroup: bool
) -> None:
    tasks = [
        f"sleep {token}",
        f"(setsid sleep {token} &) ; sleep {token}",
        f"trap '' TERM; (setsid sh -c 'sleep {token} & sleep {token} & exit' &) ; sleep {token}",
    ]
    for command in tasks:
        await rig.started(rig.spawn(command))
    await until(lambda: len(alive(f"sleep\0{token}")) == 6)
    where = paths.LauncherPaths(data_dir=rig.data_dir, boot_id=rig.client.boot_id)
    own_cgroup = None if with_cgroup else deny_cgroup(where.starts)
    os.kill(rig.client.pid, signal.SIGKILL)
    await until(lambda: not paths.is_alive(where))

    killed = await asyncio.to_thread(cleanup.kill_leftovers, rig.data_dir)

    assert killed >= 6
    assert alive(f"sleep\0{token}") == []
    assert not list((rig.data_dir / "launchers").iterdir())
    if own_cgroup:
        Path(own_cgroup).rmdir()  # noqa: ASYNC240


async def test_an_agent_whose_launcher_was_killed_gets_a_new_one_and_a_clean_host(
    rig: Rig, token: str
) -> None:
    for _ in range(3):
        await rig.started(rig.spawn(f"(setsid sleep {token} &) ; sleep {token}"))
    before = rig.client.boot_id
    os.kill(rig.client.pid, signal.SIGKILL)
    await rig.closed.wait()

    await rig.start()

    assert rig.client.boot_id != before
    assert alive(f"sleep\0{token}") == []
    rig.events.clear()
    assert await rig.fresh_inventory() == {}


async def test_a_launcher_that_dies_while_one_looks_for_it_leaves_no_task(
    rig: Rig, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.started(rig.spawn(f"(setsid sleep {token} &) ; sleep {token}"))
    where = paths.known_launchers(rig.data_dir)[0]
    os.kill(rig.client.pid, signal.SIGKILL)
    await rig.closed.wait()
    held = await until(lambda: paths.try_lock(where.lock))
    looked: list[int] = []

    def look(data_dir: Path) -> int:
        killed = cleanup.kill_leftovers(data_dir)
        if not looked:
            # Until now it was dying: passed over, and gone when it is looked for again.
            os.close(held)
        looked.append(killed)
        return killed

    monkeypatch.setattr(client, "kill_leftovers", look)

    await rig.start()

    assert looked[0] == 0
    assert alive(f"sleep\0{token}") == []


async def test_leftovers_of_another_boot_are_files_only(tmp_path: Path) -> None:
    where = paths.LauncherPaths(data_dir=tmp_path, boot_id="old")
    paths.make_folder(paths.launchers_dir(tmp_path))
    where.lock.touch()
    where.starts.write_text(
        '{"pid": 1, "start_ticks": 1, "kernel_boot": "before", "cgroup": ""}\n'
        f"{os.getsid(0)} 1 whatever\n"
    )

    assert cleanup.kill_leftovers(tmp_path) == 0
    assert not where.lock.exists()


async def test_a_living_launcher_is_not_cleaned_up(rig: Rig, token: str) -> None:
    task = rig.spawn(f"sleep {token}")
    await rig.started(task)

    assert cleanup.kill_leftovers(rig.data_dir) == 0

    assert (await rig.fresh_inventory())[task].state == RUNNING
    rig.client.cancel(task, 1)
    await gone(token)


async def test_sigterm_ends_the_tasks_and_then_the_launcher(rig: Rig, token: str) -> None:
    task = rig.spawn(f"sleep {token}")
    await rig.started(task)

    os.kill(rig.client.pid, signal.SIGTERM)

    assert (await rig.exited(task)).cancelled
    await rig.client.wait_closed()
    await until(lambda: not launcher_pids(rig.data_dir))
    assert not list((rig.data_dir / "launchers").iterdir())


async def test_a_data_folder_with_a_very_long_path_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    rig = await Rig(deep).start()

    assert (await rig.run("exit 3")).exit_code == 3

    await rig.shut_down()


async def test_the_socket_is_private(rig: Rig) -> None:
    folder = rig.data_dir / "launchers"

    assert folder.stat().st_mode & 0o777 == 0o700
    for file in folder.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600


async def test_a_launcher_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    nowhere = paths.LauncherPaths(data_dir=tmp_path, boot_id="none")

    with pytest.raises(LauncherError, match="no launcher answers"):
        await LauncherClient.connect(nowhere, lambda _: None)


async def test_rubbish_on_the_socket_ends_the_connection_not_the_launcher(rig: Rig) -> None:
    where = paths.LauncherPaths(data_dir=rig.data_dir, boot_id=rig.client.boot_id)
    with paths.connect_socket(where) as sock:
        sock.setblocking(True)
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while sock.recv(65536):
            pass

    await rig.start()

    assert (await rig.run("exit 2")).exit_code == 2


async def test_output_survives_agents_that_come_and_go(rig: Rig) -> None:
    """Ten connections, each cut somewhere else; the hash decides."""
    task = rig.spawn(NUMBERS, credit=30_000)
    await rig.started(task)
    for number in range(10):
        rig.closed.clear()
        rig.client.close()
        await rig.closed.wait()
        await rig.start()
        rig.client.credit(task, 1, 20_000 + 7919 * number)
        more = partial(more_than, rig, task, len(rig.chunks(task)))
        await rig.wait(more)
    rig.client.credit(task, 1, 1 << 30)

    await rig.wait(lambda: complete(rig, task) or None)

    assert hashlib.sha256(rig.output(task)).hexdigest() == NUMBERS_SHA


def test_the_launcher_never_imports_what_must_not_be_forked(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path[:0] = %r\n"
        "import kronforce_agent.launcher.__main__\n"
        "bad = {'grpc', 'google', 'sqlalchemy', 'asyncio', 'uvloop', 'threading'}\n"
        "print(sorted(bad & {name.partition('.')[0] for name in sys.modules}))"
    ) % [path for path in sys.path if path]

    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )

    assert result.stdout.strip() in ("[]", "['threading']")


def test_a_cgroup_is_found_or_done_without() -> None:
    folder = cgroup.current()

    assert folder is None or (folder / "cgroup.procs").exists()


def launcher_with(data_dir: Path, change: str) -> list[str]:
    """A command that runs the same launcher on what is, after this change, another host."""
    script = (
        f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n"
        "from kronforce_agent.launcher import attempt, boot, loop, process\n"
        "from pathlib import Path\n"
        f"{change}\n"
        f"boot.serve(boot.Settings(data_dir=Path({str(data_dir)!r}), spool_max_bytes=1 << 26))\n"
    )
    return [sys.executable, "-c", script]


async def test_an_idle_launcher_without_an_agent_ends_itself(tmp_path: Path) -> None:
    command = launcher_with(tmp_path, "loop.IDLE_SECS = 0.2")

    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, env=ENV)

    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert loop.IDLE_SECS == 60
    assert not list((tmp_path / "launchers").iterdir())


async def test_a_task_that_starves_for_credit_goes_on_into_the_spool(tmp_path: Path) -> None:
    command = launcher_with(tmp_path, "attempt.STARVED_SECS = 0.2")
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, env=ENV)
    await until(lambda: list(tmp_path.glob("launchers/*.starts")))
    rig = await Rig(tmp_path).start()
    rig.auto_credit = False

    task = rig.spawn("seq 1 500000; echo end", credit=1000)
    end = await rig.exited(task)

    assert end.exit_code == 0
    assert list(tmp_path.glob("spool/*/*.out"))  # noqa: ASYNC240
    rig.client.credit(task, 1, 1 << 30)
    await rig.wait(lambda: True if covered(rig, task) == end.stdout_end else None)
    assert rig.output(task).endswith(b"\n500000\nend\n")
    await rig.shut_down()
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_tasks_start_where_posix_spawn_cannot_make_sessions(tmp_path: Path) -> None:
    command = launcher_with(tmp_path, "process._can_spawn_sessions = lambda: False")
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, env=ENV)
    await until(lambda: list(tmp_path.glob("launchers/*.starts")))
    rig = await Rig(tmp_path).start()

    task = rig.spawn("ps -o sid= -p $$; echo $$; exit 3")

    assert (await rig.complete(task)).exit_code == 3
    sid, pid = rig.output(task).split()
    assert sid == pid
    missing = await rig.refused(rig.spawn(argv=("no-such-program",)))
    assert missing.reason == protocol.MISSING_PROGRAM
    await rig.shut_down()
    assert await asyncio.wait_for(process.wait(), 20) == 0
