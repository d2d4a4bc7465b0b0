import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from kronforce.clock import EPOCH, ManualClock, SystemClock, from_us, to_us


def test_microseconds_and_instants_convert_both_ways_exactly() -> None:
    instant = datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=UTC)

    assert from_us(to_us(instant)) == instant
    assert to_us(EPOCH) == 0
    assert to_us(EPOCH - timedelta(microseconds=1)) == -1


def test_system_clock_reads_aware_utc_and_its_two_forms_agree() -> None:
    clock = SystemClock()

    before, middle, after = clock.now_us(), to_us(clock.now()), clock.now_us()

    assert clock.now().tzinfo is UTC
    assert before - 1 <= middle <= after + 1
    assert clock.monotonic() <= clock.monotonic()


async def test_system_clock_waits_for_an_event_or_gives_up() -> None:
    clock, event = SystemClock(), asyncio.Event()

    assert await clock.wait(event, 0.001) is False
    event.set()
    assert await clock.wait(event, 0) is True
    assert await clock.wait(event) is True
    await clock.sleep_until(clock.monotonic() - 1)


def test_advancing_moves_both_clocks_and_a_jump_moves_the_wall_alone() -> None:
    clock = ManualClock()
    wall, steady = clock.now(), clock.monotonic()

    clock.advance(2.5)
    assert clock.now() - wall == timedelta(seconds=2.5)
    assert clock.monotonic() - steady == pytest.approx(2.5)

    clock.jump(timedelta(hours=-1))
    assert clock.now() - wall == timedelta(seconds=2.5) - timedelta(hours=1)
    assert clock.monotonic() - steady == pytest.approx(2.5)


def test_time_cannot_be_advanced_backwards() -> None:
    with pytest.raises(ValueError, match="jump"):
        ManualClock().advance(-1)


async def test_sleepers_wake_in_order_of_their_deadlines_and_not_before() -> None:
    clock, woken = ManualClock(), list[str]()

    async def sleeper(name: str, secs: float) -> None:
        await clock.sleep_until(clock.monotonic() + secs)
        woken.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("late", 20))
        group.create_task(sleeper("early", 10))
        await clock.until_sleeping(2)
        clock.advance(9.999)
        await asyncio.sleep(0)
        assert woken == []
        assert clock.sleeping == 2
        clock.advance(11)
    assert woken == ["early", "late"]


async def test_a_wait_ends_with_the_event_or_with_the_advanced_clock() -> None:
    clock, event = ManualClock(), asyncio.Event()

    async with asyncio.TaskGroup() as group:
        by_time = group.create_task(clock.wait(event, 5))
        await clock.until_sleeping()
        assert clock.next_deadline() == clock.monotonic() + 5
        clock.advance(5)
    assert by_time.result() is False

    async with asyncio.TaskGroup() as group:
        by_event = group.create_task(clock.wait(event, 5))
        await clock.until_sleeping()
        event.set()
    assert by_event.result() is True
    assert await clock.wait(event, 5) is True
    assert clock.sleeping == 0


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep_until(clock.monotonic() + 1))
    await clock.until_sleeping()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert clock.sleeping == 0
    assert clock.next_deadline() is None
    clock.advance(2)


async def test_a_deadline_that_has_passed_and_an_event_without_timeout_need_no_advance() -> None:
    clock, event = ManualClock(), asyncio.Event()

    await clock.sleep_until(clock.monotonic())
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(clock.wait(event))
        await asyncio.sleep(0)
        event.set()

    assert waiting.result() is True
