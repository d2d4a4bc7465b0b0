"""JSON that is kept says the same as JSON that is made anew, whatever changed meanwhile."""

import os

import orjson
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.v1.execution_pb2 import EXECUTION_STATE_SUCCEEDED, Execution
from kronforce.v1.job_pb2 import JOB_STATUS_PAUSED, JOB_STATUS_SCHEDULED, Job, LastRun
from kronforce_client.dialect import render
from kronforce_gateway import kept_json
from tests.system.rig.processes import rss_bytes

MANY = 5_000
# Several times what the text of one needs, a fraction of the buffer that it is written into.
ROOM = 4 << 10


def job(**fields):
    made = Job(id="j", name="etl", group="Default", etag="1", status=JOB_STATUS_SCHEDULED)
    made.task.shell.command = "echo hi"
    made.MergeFrom(Job(**fields))
    return made


def execution(**fields):
    at = Timestamp(seconds=1_800_000_000)
    return Execution(id="e", state=EXECUTION_STATE_SUCCEEDED, finished_at=at, exit_code=0, **fields)


@pytest.mark.parametrize(
    "messages",
    [
        [job(), job(status=JOB_STATUS_PAUSED), job(last_run=LastRun(run_id="r"))],
        [job(), job(next_fire_at=Timestamp(seconds=5)), job(warnings=["no such variable"])],
        [job(), job(group="ETL"), job(etag="2", description="new"), job(id="other", name="b")],
        [job(), job(etag=""), Job(), Job(name="unsaved")],
        [execution(), execution(stdout="hi", missing_bytes=3), execution(group="ETL")],
        [Execution(id="e"), Execution(id="e", message="running"), execution()],
    ],
)
def test_what_is_kept_is_never_stale(messages):
    for message in [*messages, *messages]:
        assert orjson.loads(orjson.dumps(kept_json.encode(message))) == render(message)


def test_no_more_is_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(kept_json, "MAX_KEPT", 2)
    monkeypatch.setattr(kept_json, "_ENCODERS", {})
    for name in ("a", "b", "c", "a"):
        message = job(id=name, name=name)
        assert orjson.loads(orjson.dumps(kept_json.encode(message))) == render(message)
    large = job(description="x" * 2 * kept_json.MAX_BYTES)
    assert orjson.loads(orjson.dumps(kept_json.encode(large))) == render(large)
    kept = kept_json.encoder_of(Job.DESCRIPTOR).__self__._kept
    assert [key[1] for key in kept] == ["c", "a"]


def test_what_is_kept_needs_little_more_memory_than_its_text():
    before = rss_bytes(os.getpid())
    for number in range(MANY):
        kept_json.encode(execution(agent_name=f"agent {number}"))
    assert rss_bytes(os.getpid()) - before < MANY * ROOM
