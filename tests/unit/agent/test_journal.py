import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent import journal as journals
from kronforce_agent import records
from kronforce_agent.clock import SystemClock
from kronforce_agent.journal import Journal
from kronforce_agent.records import Accept, Key
from kronforce_agent.segments import segments

KEY = ("execution", 1)


def accept(key: Key) -> Accept:
    return Accept(execution_id=key[0], fence=key[1], at_micros=5, arm="shell", boot_id="boot")


def report(key: Key, text: str = "") -> bytes:
    result = pb.Result(message=text)
    return pb.AgentMessage(execution_id=key[0], fence=key[1], result=result).SerializeToString()


def opened(folder: Path) -> Journal:
    journal = Journal(folder, SystemClock())
    journal.open()
    return journal


async def durable(journal: Journal) -> None:
    done = asyncio.Event()
    journal.commit(done.set)
    async with asyncio.timeout(10):
        await done.wait()


async def test_accept_start_and_result_are_there_after_a_restart(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.accept(accept(KEY))
    journal.start(KEY, 77, 1234)
    journal.result(KEY, report(KEY))
    await durable(journal)
    journal.close()
    again = Journal(tmp_path, SystemClock())
    (found,) = again.open().items()
    again.close()
    assert found[0] == KEY
    assert found[1].accept == accept(KEY)
    assert found[1].started_micros == 77
    assert found[1].message == report(KEY)


async def test_what_was_committed_is_in_the_file_before_the_callback(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.accept(accept(KEY))
    await durable(journal)
    (path,) = segments(tmp_path)
    assert KEY[0].encode() in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    journal.close()


async def test_an_acknowledged_result_is_not_held_but_still_answers(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.accept(accept(KEY))
    journal.result(KEY, report(KEY))
    journal.acknowledged(KEY)
    journal.close()
    again = Journal(tmp_path, SystemClock())
    assert again.open() == {}
    assert again.kept_result(KEY) == report(KEY)
    again.close()
    third = Journal(tmp_path, SystemClock())
    third.open()
    assert third.kept_result(KEY) == report(KEY)
    third.close()


async def test_what_was_dropped_leaves_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.accept(accept(KEY))
    journal.dropped(KEY)
    await durable(journal)
    journal.close()
    again = Journal(tmp_path, SystemClock())
    assert again.open() == {}
    assert again.kept_result(KEY) is None
    again.close()


async def test_kept_results_are_bounded_in_number_and_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "KEPT_RESULTS", 3)
    journal = opened(tmp_path)
    keys = [(f"e{number}", number) for number in range(1, 6)]
    for key in keys:
        journal.accept(accept(key))
        journal.result(key, report(key))
        journal.acknowledged(key)
    assert [key for key in keys if journal.kept_result(key)] == keys[2:]
    monkeypatch.setattr(journals, "KEPT_BYTES", 2000)
    big = ("big", 9)
    journal.accept(accept(big))
    journal.result(big, report(big, "x" * 1990))
    journal.acknowledged(big)
    assert [key for key in keys if journal.kept_result(key)] == []
    journal.close()


async def test_a_full_segment_is_replaced_by_what_still_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "ROTATE_BYTES", 20_000)
    monkeypatch.setattr(journals, "KEPT_RESULTS", 2)
    journal = opened(tmp_path)
    journal.accept(accept(KEY))
    for number in range(300):
        key = (f"e{number}", number)
        journal.accept(accept(key))
        journal.result(key, report(key, "x" * 200))
        journal.acknowledged(key)
        await durable(journal)
    journal.close()
    (path,) = segments(tmp_path)
    assert int(path.stem) > 3
    assert path.stat().st_size < 30_000
    again = Journal(tmp_path, SystemClock())
    assert list(again.open()) == [KEY]
    assert again.kept_result(("e299", 299)) is not None
    again.close()


async def test_a_half_made_segment_is_ignored(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.accept(accept(KEY))
    await durable(journal)
    journal.close()
    (path,) = segments(tmp_path)
    (tmp_path / f"{int(path.stem) + 1:016d}.tmp").write_bytes(b"half")
    again = Journal(tmp_path, SystemClock())
    assert list(again.open()) == [KEY]
    again.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root and mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kronforce_agent.segments.RETRY_SECS", 0.02)
    troubles: asyncio.Queue[OSError | None] = asyncio.Queue()
    journal = Journal(small_disk / "journal", SystemClock(), on_trouble=troubles.put_nowait)
    journal.open()
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        file.write(b"x" * 200_000)
    keys = [(f"e{number}", number) for number in range(1, 60)]
    done = asyncio.Event()
    for key in keys:
        journal.accept(accept(key))
        journal.result(key, report(key, "x" * 2000))
        journal.commit(lambda: None)
    journal.commit(done.set)
    async with asyncio.timeout(10):
        error = await troubles.get()
    assert error is not None
    assert "No space" in str(error)
    assert journal.trouble is not None
    assert not done.is_set()
    ballast.unlink()
    async with asyncio.timeout(10):
        assert await troubles.get() is None
        await done.wait()
    journal.close()
    again = Journal(small_disk / "journal", SystemClock())
    assert list(again.open()) == keys
    again.close()


async def test_damage_in_the_middle_is_told_kept_aside_and_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = opened(tmp_path)
    keys = [(f"e{number}", number) for number in range(1, 6)]
    for key in keys:
        journal.accept(accept(key))
        journal.result(key, report(key))
    await durable(journal)
    journal.close()
    (path,) = segments(tmp_path)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"e3")
    whole[at] ^= 1
    path.write_bytes(bytes(whole))
    again = Journal(tmp_path, SystemClock())
    entries = again.open()
    assert sorted(entries) == keys  # the accept is gone, its result is there
    assert entries["e3", 3].accept is None
    assert entries["e3", 3].message == report(("e3", 3))
    again.close()
    (told,) = [each for each in caplog.records if getattr(each, "action", "") == "journal_damaged"]
    assert "1 places" in told.getMessage()
    kept = path.with_suffix(".damaged")
    assert kept.read_bytes() == bytes(whole)
    assert str(kept) in told.getMessage()


async def test_an_unfinished_tail_is_told_and_its_records_are_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = opened(tmp_path)
    journal.accept(accept(KEY))
    await durable(journal)
    journal.close()
    (path,) = segments(tmp_path)
    with path.open("ab") as file:
        file.write(records.encode_accept(accept(("other", 2)))[:-1])
    again = Journal(tmp_path, SystemClock())
    assert list(again.open()) == [KEY]
    again.close()
    assert "journal_torn" in [getattr(each, "action", "") for each in caplog.records]
    assert [each.suffix for each in segments(tmp_path)] == [".log"]
