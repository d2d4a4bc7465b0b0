"""Where a stream of runs stands: what its ids tell, however long it lasts."""

from __future__ import annotations

from kronforce.v1.execution_pb2 import OutputChunk
from kronforce.v1.run_pb2 import RunUpdate, RunUpdates
from kronforce_gateway.live.encoders import MAX_PLACES, MAX_REMEMBERED, Runs

STDOUT = 1


def wrote(number: int, data: bytes, offset: int = 0) -> RunUpdate:
    update = RunUpdate(run_id=f"r{number}")
    update.output.execution_id = f"e{number}"
    chunk = OutputChunk(stream=STDOUT, offset=offset, data=data)  # type: ignore[arg-type]  # number
    update.output.chunk.CopyFrom(chunk)
    return update


def ended(number: int) -> RunUpdate:
    update = RunUpdate(run_id=f"r{number}", cursor=f"c{number}")
    update.state.finished_at.FromSeconds(1)
    return update


def test_a_stream_of_all_runs_remembers_no_more_however_many_they_are() -> None:
    runs = Runs()
    for number in range(3 * MAX_REMEMBERED):
        runs.frame(RunUpdates(updates=[wrote(number, b"hi"), ended(number)]))

    assert len(runs._places) == MAX_REMEMBERED
    assert not runs._of
    places, _, cursor = runs.last_id().rpartition("~~")
    last = 3 * MAX_REMEMBERED - 1
    assert cursor == f"c{last}"
    assert places.split("~") == [f"e{n}.2.0" for n in range(last - MAX_PLACES + 1, last + 1)]


def test_what_was_held_back_of_a_character_comes_before_the_end_of_its_run() -> None:
    runs = Runs()
    assert len(runs.frame(RunUpdates(updates=[wrote(1, b"a\xe2"), wrote(2, b"b\xe2")]))) == 2
    rest, end = runs.frame(RunUpdates(updates=[ended(1)]))
    assert b'"text":"\\ufffd"' in rest or "\ufffd".encode() in rest
    assert b"id: e2.1.0~e1.2.0~~" in rest
    assert b"event: state" in end
    [other] = runs.rest()
    assert b"id: e1.2.0~e2.2.0~~c1" in other
    assert runs.rest() == []
