"""Ordinary commands, and what people get wrong about them."""

from __future__ import annotations

import hashlib
import os
import pwd
import resource
import time
from pathlib import Path
from typing import Any, Self

import pytest

from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.protocol import STDERR, STDOUT, Output
from tests.system.launcher.rig import ENV, Rig, memory_of, until, zombies_of

GLIBC_INTERNAL = 1 << 31 | 1 << 32
"""Signals 32 and 33, which glibc's posix_spawn leaves ignored in every child."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


async def test_a_command_runs_and_its_output_and_exit_arrive(rig: Rig) -> None:
    task = rig.spawn("echo hi; echo oops >&2; exit 3")

    end = await rig.complete(task)

    assert (end.exit_code, end.signal, end.timed_out, end.cancelled) == (3, None, False, False)
    assert rig.output(task) == b"hi\n"
    assert rig.output(task, STDERR) == b"oops\n"
    assert (end.stdout_end, end.stderr_end) == (3, 5)
    assert end.started_at_micros <= end.ended_at_micros


async def test_argv_runs_without_a_shell(rig: Rig) -> None:
    task = rig.spawn(argv=("printf", "%s|", "a b", "$HOME"))

    await rig.complete(task)

    assert rig.output(task) == b"a b|$HOME|"


async def test_a_task_has_its_environment_folder_and_nothing_else(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAK", "secret")
    task = rig.spawn(
        "env | sort; pwd; umask; ls -l /proc/self/fd | wc -l; readlink /proc/self/fd/0",
        cwd=str(tmp_path),
        env={**ENV, "GREETING": "hello"},
        umask=0o027,
    )

    await rig.complete(task)

    text = rig.output(task).decode()
    assert "LEAK" not in text
    assert f"KRONFORCE_EXECUTION_ID={task}\n" in text
    assert "GREETING=hello\n" in text
    # `total`, 0, 1, 2 and the folder that ls itself has open.
    assert text.endswith(f"{tmp_path}\n0027\n5\n/dev/null\n")


async def test_a_task_leads_a_session_and_has_default_signals(rig: Rig) -> None:
    task = rig.spawn("grep -E '^Sig(Ign|Blk)' /proc/self/status; ps -o sid= -p $$; echo $$")

    await rig.complete(task)

    signals, sid, pid = rig.output(task).decode().rsplit("\n", 3)[:3]
    _, blocked, _, ignored = signals.split()
    assert int(blocked, 16) == 0
    assert int(ignored, 16) & ~GLIBC_INTERNAL == 0
    assert sid.strip() == pid


async def test_a_signal_leaves_the_exit_code_unset(rig: Rig) -> None:
    end = await rig.run("kill -SEGV $$")

    assert (end.exit_code, end.signal) == (None, 11)


async def test_a_task_keeps_the_usual_limit_of_open_files(rig: Rig) -> None:
    task = rig.spawn("ulimit -Sn; ulimit -Hn")

    await rig.complete(task)

    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert tuple(map(int, rig.output(task).split())) == usual


async def test_exit_codes_keep_their_value(rig: Rig) -> None:
    tasks = {code: rig.spawn(f"exit {code}") for code in (0, 1, 42, 126, 127, 255)}

    for code, task in tasks.items():
        assert (await rig.exited(task)).exit_code == code


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"argv": ("no-such-program",)}, protocol.MISSING_PROGRAM),
        ({"argv": ("/etc/passwd",)}, protocol.NOT_PERMITTED),
        ({"command": "", "argv": ("{tmp}/script",)}, protocol.BAD_COMMAND),
        ({"argv": ("echo", "a\0b")}, protocol.BAD_COMMAND),
        ({"command": "true", "cwd": "/no/such/folder"}, protocol.MISSING_FOLDER),
        ({"command": "true", "cwd": "/etc/hostname"}, protocol.MISSING_FOLDER),
        ({"command": "true #" + "x" * 200_000}, protocol.TOO_BIG),
        ({"command": "true", "mask_set": "never sent"}, protocol.UNKNOWN_MASKS),
    ],
)
async def test_what_cannot_be_started_is_refused_with_a_reason(
    rig: Rig, tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    script = tmp_path / "script"
    script.write_text("echo no interpreter line")
    script.chmod(0o755)
    if fields.get("argv"):
        fields = {**fields, "argv": tuple(a.format(tmp=tmp_path) for a in fields["argv"])}
    task = rig.spawn(**fields)

    refusal = await rig.refused(task)

    assert refusal.reason == reason
    assert refusal.message
    assert await rig.fresh_inventory() == {}
    assert (await rig.run("exit 5")).exit_code == 5  # the launcher goes on


async def test_starting_is_idempotent_by_execution_and_fence(rig: Rig, tmp_path: Path) -> None:
    rig.auto_ack = False
    marker = tmp_path / "runs"
    for _ in range(3):
        rig.spawn(f"echo run >> {marker}", execution_id="once", fence=7)
    await rig.exited("once")
    rig.spawn(f"echo run >> {marker}", execution_id="once", fence=7)

    await rig.wait(lambda: [e for e in rig.events if isinstance(e, protocol.Exited)][1:] or None)

    assert marker.read_text() == "run\n"


async def test_an_older_fence_is_refused_and_a_newer_one_takes_over(rig: Rig, token: str) -> None:
    rig.spawn(f"sleep {token}", execution_id="twice", fence=5)
    await rig.started("twice")
    rig.spawn("true", execution_id="twice", fence=4)
    assert (await rig.refused("twice")).reason == protocol.STALE_FENCE

    rig.spawn("echo new", execution_id="twice", fence=6)

    end = await rig.complete("twice")
    assert (end.fence, end.exit_code) == (6, 0)
    assert rig.output("twice") == b"new\n"


async def test_binary_output_arrives_byte_by_byte(rig: Rig) -> None:
    task = rig.spawn("head -c 300000 /dev/urandom | tee /dev/stderr", credit=1 << 20)

    await rig.complete(task)

    assert len(rig.output(task)) == 300_000
    assert rig.output(task) == rig.output(task, STDERR)


async def test_a_line_of_100_megabytes_passes_in_bounded_memory(rig: Rig) -> None:
    before = memory_of(rig.client.pid)
    seen = hashlib.sha256()
    rig.events = _Hashing(seen)
    task = rig.spawn("head -c 100M /dev/zero", credit=1 << 20)

    end = await rig.exited(task)
    await rig.wait(lambda: True if rig.events.size == end.stdout_end else None)

    assert end.stdout_end == 100 * 1024 * 1024
    assert seen.hexdigest() == hashlib.sha256(bytes(end.stdout_end)).hexdigest()
    assert memory_of(rig.client.pid) - before < 20 << 20


class _Hashing(list[protocol.Event]):
    """Keeps everything but the bytes."""

    def __init__(self, seen: hashlib._Hash) -> None:
        super().__init__()
        self.size = 0
        self._seen = seen

    def __iadd__(self, events: list[protocol.Event]) -> Self:  # type: ignore[override]
        for event in events:
            if isinstance(event, Output):
                self._seen.update(event.data)
                self.size += len(event.data)
            else:
                self.append(event)
        return self


async def test_two_streams_interleave_in_the_order_of_their_writes(rig: Rig) -> None:
    script = "for n in 1 2 3 4 5; do echo out$n; sleep 0.02; echo err$n >&2; sleep 0.02; done"
    task = rig.spawn(script)

    await rig.complete(task)

    chunks = rig.chunks(task)
    assert [c.data for c in chunks] == [
        b"%s%d\n" % (word, n) for n in range(1, 6) for word in (b"out", b"err")
    ]
    assert [c.seq for c in chunks] == list(range(1, 11))
    assert [c.at_micros for c in chunks] == sorted(c.at_micros for c in chunks)
    assert {c.stream for c in chunks} == {STDOUT, STDERR}


async def test_many_short_runs_end_without_zombies(rig: Rig) -> None:
    tasks = [rig.spawn(f"echo {number}; exit {number % 7}") for number in range(200)]

    for number, task in enumerate(tasks):
        end = await rig.complete(task)
        assert end.exit_code == number % 7
        assert rig.output(task) == b"%d\n" % number

    await until(lambda: not zombies_of(rig.client.pid))
    assert await rig.fresh_inventory() == {}


async def test_secrets_are_masked_before_they_leave_the_launcher(rig: Rig) -> None:
    rig.client.set_masks("set-1", [b"hunter22"])
    task = rig.spawn(
        "printf 'pass=hun'; sleep 0.05; printf 'ter22;aHVudGVyMjI=;hunt'", mask_set="set-1"
    )

    end = await rig.complete(task)

    assert rig.output(task) == b"pass=********;********;hunt"
    assert end.stdout_end == 27


async def test_a_burst_with_more_secrets_than_are_kept_is_masked_all_the_same(rig: Rig) -> None:
    """What a waiting spawn names stays; what nobody needs goes, the oldest first."""
    tasks = []
    for number in range(protocol.MAX_MASK_SETS + 6):
        rig.client.set_masks(f"set-{number}", [b"secret-%04d" % number])
        tasks.append(rig.spawn(f"printf secret-%04d {number}", mask_set=f"set-{number}"))
    for task in tasks:
        await rig.complete(task)
    rig.client.set_masks("one more", [b"secret-more"])
    late = rig.spawn("true", mask_set="set-0")

    failed = await rig.refused(late)

    assert {rig.output(task) for task in tasks} == {b"********"}
    assert failed.reason == protocol.UNKNOWN_MASKS


@needs_root
async def test_run_as_changes_user_and_groups(rig: Rig) -> None:
    nobody = pwd.getpwnam("nobody")
    task = rig.spawn("id -u; id -g; id -G; cat /etc/shadow", run_as="nobody")

    end = await rig.complete(task)

    assert rig.output(task).split() == [
        str(number).encode() for number in (nobody.pw_uid, nobody.pw_gid, nobody.pw_gid)
    ]
    assert end.exit_code == 1


@needs_root
async def test_run_as_someone_unknown_is_refused(rig: Rig) -> None:
    refusal = await rig.refused(rig.spawn("true", run_as="no-such-user"))

    assert refusal.reason == protocol.RUN_AS_UNKNOWN_USER


async def test_a_short_runs_output_comes_before_its_exit(rig: Rig) -> None:
    task = rig.spawn("echo hi")

    await rig.exited(task)

    kinds = [type(e) for e in rig.events if getattr(e, "execution_id", "") == task]
    assert kinds == [protocol.Started, Output, protocol.Exited]


async def test_instants_are_wall_clock_microseconds(rig: Rig) -> None:
    before = time.time_ns() // 1000
    end = await rig.run("true")

    assert before <= end.started_at_micros <= end.ended_at_micros <= time.time_ns() // 1000
