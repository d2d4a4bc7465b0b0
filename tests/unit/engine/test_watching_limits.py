"""What one watcher may hold, however slow its reader and however much there is to tell."""

from types import SimpleNamespace

import pytest

from kronforce.engine import watching
from kronforce.engine.watching import BUFFER_BYTES, UPDATE_BYTES, Watcher
from kronforce.v1.execution_pb2 import OutputChunk
from kronforce.v1.run_pb2 import RunUpdate


def execution(number: int = 1):
    return SimpleNamespace(
        id_text=f"e{number}", key=number, run=SimpleNamespace(id_text=f"r{number}")
    )


def chunk(offset: int, data: bytes = b"x") -> OutputChunk:
    return OutputChunk(stream=1, offset=offset, data=data, sequence=offset + 1)


def state(run_id: str, revision: int, *, ended: bool = False) -> RunUpdate:
    update = RunUpdate(run_id=run_id)
    update.state.revision = revision
    if ended:
        update.state.finished_at.FromMicroseconds(1)
    return update


def watcher() -> Watcher:
    return Watcher(include_output=True, from_start=True)


def test_many_small_chunks_fill_the_buffer_and_the_rest_is_left_to_the_store():
    one, live = watcher(), execution()
    for offset in range(2 * BUFFER_BYTES // UPDATE_BYTES):
        one.output(live, [chunk(offset)])
    assert len(one._outputs) <= BUFFER_BYTES // UPDATE_BYTES + 1
    assert [follower.id_text for follower in one.behind()] == ["e1"]
    assert not one.has_room()


def test_a_buffer_that_was_read_has_room_again():
    one, live = watcher(), execution()
    for offset in range(2 * BUFFER_BYTES // UPDATE_BYTES):
        one.output(live, [chunk(offset)])
    while one.take():
        pass
    assert one.has_room()
    assert one._buffered == 0


def test_progress_that_nobody_reads_is_dropped():
    one = watcher()
    update = RunUpdate(run_id="r1")
    update.progress.message = "half way"
    for _ in range(2 * BUFFER_BYTES // UPDATE_BYTES):
        one.progress(update)
    assert len(one._outputs) <= BUFFER_BYTES // UPDATE_BYTES + 1


def test_states_beyond_the_limit_are_counted_and_told_as_a_gap(monkeypatch):
    monkeypatch.setattr(watching, "MAX_STATES", 3)
    one = watcher()
    for number in range(5):
        one.state(state(f"r{number}", 1))
    frame = one.take()
    assert frame[0].gap.dropped == 2
    assert len(frame) == 4


@pytest.mark.parametrize("full", [False, True])
def test_a_watcher_forgets_the_executions_of_runs_that_have_ended(monkeypatch, full):
    one = watcher()
    for number in range(100):
        live = execution(number)
        one.output(live, [chunk(0)])
        one.take()
        if full:
            monkeypatch.setattr(watching, "MAX_STATES", 0)
        one.state(state(live.run.id_text, 2, ended=True))
        one.take()
    assert one.followers == {}


def test_the_last_state_waits_for_output_that_is_read_from_the_store():
    one, live = watcher(), execution()
    one.output(live, [chunk(5)])
    one.state(state("r1", 2, ended=True))
    assert one.take() == []
    one.followers["e1"].behind = False
    (last,) = one.take()
    assert last.state.HasField("finished_at")


def test_a_last_state_is_never_taken_for_an_old_one():
    one = watcher()
    one.state(state("r1", 9))
    one.state(state("r1", 8, ended=True))
    (last,) = one.take()
    assert last.state.HasField("finished_at")


def test_output_goes_on_where_a_reconnecting_reader_stands():
    one, live = watcher(), execution()
    one.positions = {("e1", 1): 3}
    one.output(live, [chunk(0, b"abcdef")])
    (update,) = one.take()
    assert (update.output.chunk.offset, update.output.chunk.data) == (3, b"def")
