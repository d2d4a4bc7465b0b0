from hypothesis import given
from hypothesis import strategies as st

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent import records
from kronforce_agent.records import Accept, Mark, ResultRecord

names = st.text(min_size=1, max_size=36)
numbers = st.integers(min_value=0, max_value=2**63 - 1)
accepts = st.builds(
    Accept,
    execution_id=names,
    fence=numbers,
    at_micros=numbers,
    arm=st.sampled_from(["shell", "noop"]),
    boot_id=st.text(max_size=36),
    timeout_ms=st.integers(min_value=0, max_value=2**32 - 1),
)
marks = st.builds(
    Mark,
    kind=st.sampled_from([records.START, records.ACKNOWLEDGED, records.DROPPED]),
    execution_id=names,
    fence=numbers,
    at_micros=numbers,
    number=numbers,
)


@st.composite
def results(draw: st.DrawFn) -> ResultRecord:
    name, fence = draw(names), draw(numbers)
    result = pb.Result(message=draw(st.text(max_size=50)))
    message = pb.AgentMessage(execution_id=name, fence=fence, result=result)
    return ResultRecord(execution_id=name, fence=fence, message=message.SerializeToString())


def encode(record: records.Record) -> bytes:
    if isinstance(record, Accept):
        return records.encode_accept(record)
    if isinstance(record, ResultRecord):
        return records.encode_result(record.message)
    key = (record.execution_id, record.fence)
    return records.encode_mark(record.kind, key, record.at_micros, record.number)


rows = st.lists(st.one_of(accepts, marks, results()), max_size=20)


@given(rows)
def test_what_was_written_is_read_back_in_order(written: list[records.Record]) -> None:
    assert list(records.read(b"".join(map(encode, written)))) == written


@given(rows, st.data())
def test_a_torn_tail_loses_the_records_that_it_cut_and_no_other(
    written: list[records.Record], data: st.DataObject
) -> None:
    encoded = [encode(record) for record in written]
    whole = b"".join(encoded)
    cut = data.draw(st.integers(min_value=0, max_value=len(whole)))
    read = list(records.read(whole[:cut]))
    intact = [r for i, r in enumerate(written) if len(b"".join(encoded[: i + 1])) <= cut]
    assert read == intact


@given(rows, st.data())
def test_reading_stops_at_a_flipped_bit_and_never_invents_a_record(
    written: list[records.Record], data: st.DataObject
) -> None:
    whole = bytearray(b"".join(map(encode, written)))
    if not whole:
        return
    at = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(min_value=0, max_value=7))
    read = list(records.read(bytes(whole)))
    assert read == written[: len(read)]


@given(st.binary(max_size=300))
def test_any_garbage_is_read_as_nothing_or_less(garbage: bytes) -> None:
    assert list(records.read(garbage)) == [] or len(garbage) >= 9
