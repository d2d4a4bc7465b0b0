from hypothesis import assume, given
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
    at_micros=st.integers(min_value=1, max_value=2**63 - 1),
    number=numbers,
)


@st.composite
def results(draw: st.DrawFn) -> ResultRecord:
    name, fence = draw(names), draw(numbers)
    result = pb.Result(message=draw(st.text(max_size=50)))
    message = pb.AgentMessage(execution_id=name, fence=fence, result=result)
    return ResultRecord(execution_id=name, fence=fence, message=message.SerializeToString())


EMPTY = len(records.encode_result(b""))


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
    assert records.read(b"".join(map(encode, written))).records == written


@given(rows, st.data())
def test_a_torn_tail_loses_the_records_that_it_cut_and_no_other(
    written: list[records.Record], data: st.DataObject
) -> None:
    encoded = [encode(record) for record in written]
    whole = b"".join(encoded)
    cut = data.draw(st.integers(min_value=0, max_value=len(whole)))
    found = records.read(whole[:cut])
    intact = [r for i, r in enumerate(written) if len(b"".join(encoded[: i + 1])) <= cut]
    assert found.records == intact
    assert found.damaged == []
    assert (found.torn_at is None) == (len(b"".join(map(encode, intact))) == cut)


@given(rows, st.data())
def test_a_flipped_bit_costs_the_record_that_it_is_in_and_is_told(
    written: list[records.Record], data: st.DataObject
) -> None:
    encoded = [encode(record) for record in written]
    assume(all(len(each) > EMPTY for each in encoded))
    whole = bytearray(b"".join(encoded))
    if not whole:
        return
    at = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(min_value=0, max_value=7))
    hit, start = 0, 0
    while start + len(encoded[hit]) <= at:
        start += len(encoded[hit])
        hit += 1
    found = records.read(bytes(whole))
    assert found.records == written[:hit] + written[hit + 1 :]
    if hit == len(written) - 1:
        assert (found.damaged, found.torn_at) == ([], start)
    else:
        assert found.damaged == [(start, start + len(encoded[hit]))]


@given(rows, st.integers(min_value=1, max_value=5000))
def test_zeros_at_the_end_are_no_records(written: list[records.Record], zeros: int) -> None:
    whole = b"".join(map(encode, written))
    found = records.read(whole + bytes(zeros))
    assert found.records == written
    assert found.torn_at == len(whole)


@given(st.binary(max_size=300))
def test_any_garbage_is_read_as_no_record_without_an_error(garbage: bytes) -> None:
    found = records.read(garbage)
    assert found.records == [] or len(garbage) >= 9
