import hashlib

import pytest

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent.held import ACCEPTED, FINISHED, RECEIVED, RUNNING, Held
from kronforce_agent.table import Limits, Table, key_hash


def held(number: int, state: int = RECEIVED, report: bytes = b"") -> Held:
    return Held(key=(f"e{number}", number), arm="noop", state=state, report=report)


def test_slots_are_taken_from_assignment_to_result() -> None:
    table = Table(Limits(slots=1))
    one = held(1)
    table.add(one)
    assert "1 slots" in table.full()
    table.move(one, RUNNING)
    assert table.full()
    table.move(one, FINISHED)
    assert not table.full()


def test_what_was_accepted_before_a_restart_takes_no_slot() -> None:
    table = Table(Limits(slots=1))
    table.add(held(1, ACCEPTED))
    assert not table.full()


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param(Limits(slots=10, max_unacknowledged=1), id="number"),
        pytest.param(Limits(slots=10, max_unacknowledged_bytes=5), id="bytes"),
    ],
)
def test_results_that_nobody_acknowledges_stop_new_work(limits: Limits) -> None:
    table = Table(limits)
    one = held(1, RUNNING, b"x" * 6)
    table.add(one)
    table.move(one, FINISHED)
    assert "acknowledgement" in table.full()
    table.remove(one)
    assert not table.full()


def test_the_inventory_says_what_is_recorded_and_where_it_stands() -> None:
    table = Table(Limits(slots=10))
    for number, state in enumerate((RECEIVED, ACCEPTED, RUNNING, FINISHED)):
        table.add(held(number, state))
    states = [(item.execution_id, item.state) for item in table.inventory().items]
    assert states == [
        ("e1", pb.INVENTORY_STATE_ACCEPTED),
        ("e2", pb.INVENTORY_STATE_RUNNING),
        ("e3", pb.INVENTORY_STATE_FINISHED),
    ]
    beat = table.heartbeat()
    assert beat.held_count == 3
    assert beat.held_hash == key_hash(("e1", 1)) ^ key_hash(("e2", 2)) ^ key_hash(("e3", 3))


def test_the_hash_is_the_contracts() -> None:
    # sha256("a:1") begins with these 8 bytes.
    digest = hashlib.sha256(b"a:1").hexdigest()
    assert f"{key_hash(('a', 1)):016x}" == digest[:16]


def test_one_of_the_same_key_replaces_the_older() -> None:
    table = Table(Limits(slots=1))
    table.add(held(1, ACCEPTED))
    again = held(1)
    table.add(again)
    assert list(table) == [again]
    assert table.newest("e1") == 1
    table.remove(again)
    assert table.newest("e1") == 0
