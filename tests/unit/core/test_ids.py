import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce.clock import ManualClock
from kronforce.core.ids import IdSource, created_ms, from_text, to_text


def test_an_id_is_a_uuid_of_version_seven_with_the_instant_in_front() -> None:
    clock = ManualClock()

    made = IdSource(clock, random.Random(1))()

    parsed = uuid.UUID(bytes=made)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert created_ms(made) == clock.now_us() // 1000


def test_ids_grow_within_a_millisecond_over_time_and_when_the_clock_goes_back() -> None:
    clock = ManualClock()
    source = IdSource(clock, random.Random(2))
    made = []

    for step in (0, 0, 0.001, -3600, 0, 7200, 0):
        clock.jump(step)
        made += [source() for _ in range(100)]

    assert made == sorted(set(made))
    assert all(uuid.UUID(bytes=each).version == 7 for each in made)


def test_counting_up_carries_into_the_upper_random_bits() -> None:
    class AllOnesBelow:
        def getrandbits(self, k: int, /) -> int:
            return (1 << 62) - 1

    source = IdSource(ManualClock(), AllOnesBelow())

    first, second = source(), source()

    assert first < second
    assert uuid.UUID(bytes=second).version == 7


def test_two_sources_of_one_millisecond_do_not_collide() -> None:
    clock = ManualClock()
    sources = [IdSource(clock, random.Random(seed)) for seed in range(50)]

    assert len({source() for source in sources for _ in range(20)}) == 1000


@given(st.binary(min_size=16, max_size=16))
def test_text_and_bytes_convert_both_ways(raw: bytes) -> None:
    text = to_text(raw)

    assert text == str(uuid.UUID(bytes=raw))
    assert from_text(text) == raw
    assert from_text(text.upper()) == raw


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nightly",
        "01a1fb7447fa706d976839020d6f0ce0",
        "01a1fb74-47fa-706d-9768-39020d6f0ceg",
        "01a1fb74-47fa-706d-9768-39020d6f0c 0",
        "01a1fb74-47fa-706d-976839020d6f0-ce0",
        "{01a1fb74-47fa-706d-9768-39020d6f0c}",
        "01a1fb74-47fa-706d-9768-39020d6f0ce٣",
    ],
)
def test_anything_else_is_a_name_and_not_an_id(text: str) -> None:
    assert from_text(text) is None
