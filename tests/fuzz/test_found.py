"""What fuzzing found, each as small as it is."""

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.api.grpc_transport import _sendable
from kronforce.api.preview import Question, preview_question, preview_unsaved
from kronforce.cli.job_files import Unreadable, read_documents
from kronforce.core.access import Role, Scope
from kronforce.core.custom_tasks import custom_problems
from kronforce.engine.agents.hello import MAX_FENCE, MAX_SKEW_MS, highest_fence, skew_ms
from kronforce.errors import InvalidArgument
from kronforce.host import archive
from kronforce.host.opening import HostError
from kronforce.store import executions, jobs, variables
from kronforce.store.database import open_database, reading
from kronforce.store.migrate import migrate
from kronforce.store.paging import PageRequest
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1.job_pb2 import CustomTask, Job
from kronforce.v1.job_service_pb2 import PreviewScheduleRequest
from kronforce_agent import enrolment, records
from kronforce_agent.enrolment import EnrolmentError
from kronforce_agent.launcher.protocol import FrameReader, ProtocolError
from kronforce_agent.launcher.starts import read_starts
from tests.unit.host.test_archive import forged

ADMIN = Scope(principal_id="x", role=Role.ADMIN)
DEEP = b"[" * 30_000
MARK = records.encode_mark(records.START, ("e", 7), 11, 4711)


@pytest.mark.parametrize(
    ("kind", "body"),
    [(records.ACCEPT, b""), (records.ACCEPT, b"\xff" * 40), (records.START, b""),
     (records.START, b"\xff" * 280), (records.RESULT, b"\xff" * 40), (records.RESULT, b""),
     (records.START, bytes(16) + b"\x01" + bytes(8) + b"e"), (records.DROPPED, bytes(60))],
)  # fmt: skip
def test_a_whole_record_that_makes_no_sense_costs_no_other(kind, body):
    assert len(records.read(MARK + records._frame(kind, body) + MARK).records) == 2


def test_a_frame_that_is_nested_without_end_is_refused():
    frame = (len(DEEP) + 1).to_bytes(4, "big") + bytes([65]) + DEEP
    with pytest.raises(ProtocolError):
        FrameReader().feed(frame)


@pytest.mark.parametrize("content", [DEEP, b'{"agent_id": 7, "secret": "x"}'])
def test_a_credential_that_is_none_says_what_to_do(tmp_path, content):
    (tmp_path / "credential").write_bytes(content)
    with pytest.raises(EnrolmentError, match="remove it and start with a new join token"):
        enrolment.load(tmp_path)


def test_a_list_of_starts_that_is_nested_without_end_is_none(tmp_path):
    (tmp_path / "starts").write_bytes(DEEP)
    assert read_starts(tmp_path / "starts") == (None, [])


@pytest.mark.parametrize("opening", [b"[", b"{", b"- ", b"? "])
def test_a_job_file_that_is_nested_without_end_is_refused_at_once(tmp_path, opening):
    (tmp_path / "job.yaml").write_bytes(opening * 10_000)
    with pytest.raises(Unreadable, match="nested too deep"):
        list(read_documents(str(tmp_path / "job.yaml")))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"%YAML 1.222\n---\n", "as YAML: version"), (b"%YAML 3.1\n---\n", "incompatible"),
     (b"%YAML 1." + b"9" * 5_000 + b"\n---\n", "cannot be read as YAML"),
     (rb'name: "\U0011FFFF"', "cannot be read as YAML"),
     (rb'name: "\UFFFFFFFF"', "cannot be read as YAML")],
)  # fmt: skip
def test_a_job_file_that_the_library_has_no_answer_for_is_refused(tmp_path, content, said):
    (tmp_path / "job.yaml").write_bytes(content)
    with pytest.raises(Unreadable, match=said):
        list(read_documents(str(tmp_path / "job.yaml")))


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), 2.0**60])
def test_a_number_that_json_cannot_say_is_a_problem_of_a_custom_task(number):
    task = CustomTask(agent_task_type="x")
    task.data.update({"a": [{"b": number}]})
    ((field, problem),) = custom_problems(task)
    assert (field, "JSON" in problem) == ("task.data.a[0].b", True)


def test_a_manifest_that_is_nested_without_end_is_damaged(tmp_path):
    with pytest.raises(HostError, match="damaged"):
        archive.read_manifest(forged(tmp_path / "x.tar", DEEP))


@pytest.mark.parametrize(("seconds", "said"), [(2**63 - 1, MAX_SKEW_MS), (-(2**63), -MAX_SKEW_MS)])
def test_a_clock_of_no_calendar_is_far_off_and_nothing_worse(seconds, said):
    hello = pb.Hello()
    hello.now.seconds = seconds
    assert skew_ms(hello, 1_790_000_000_000_000) == said


def test_no_agent_brings_the_counter_of_fences_to_its_end():
    hello = pb.Hello()
    for fence in (7, 2**63 - 1, MAX_FENCE + 1, -1):
        hello.inventory.items.add(fence=fence)
    assert highest_fence(hello) == 7


def test_a_header_that_metadata_cannot_hold_is_a_wrong_key_and_no_fault():
    assert _sendable("Bearer \xff\x00é") == "Bearer ???"
    assert _sendable("Bearer kf_x y~") == "Bearer kf_x y~"


@pytest.mark.parametrize("text", ["x" * 70_000, "%" * 70_000, "é" * 40_000])
def test_a_search_for_what_no_name_can_be_finds_nothing(tmp_path, text):
    url = str(tmp_path / "k.db")
    database = open_database(url)
    migrate(database)
    with reading(database.main) as tx:
        page = PageRequest(size=10)
        assert not jobs.list_jobs(tx, ADMIN, search=text, page=page).items
        assert not executions.list_executions(tx, ADMIN, search=text, page=page).items
        assert not variables.list_variables(tx, ADMIN, search=text, page=page).items
    database.close()


def test_a_preview_looks_at_nothing_that_it_did_not_check():
    job = Job(concurrency_policy=-7, misfire_policy=-7, delivery=-7, retry_on=["?"])
    job.schedule.cron = "0 0 2 * * *"
    now = datetime(2026, 11, 21, tzinfo=UTC)
    question = Question(now=now, after=now, count=2)
    assert len(preview_unsaved(job, question).fires) == 2


@pytest.mark.parametrize("nanos", [2**31 - 1, -(2**31)])
@pytest.mark.parametrize("seconds", [2**63 - 1, -(2**63)])
def test_an_instant_that_no_calendar_has_is_refused(seconds, nanos):
    request = PreviewScheduleRequest(job_id="j", after=Timestamp(seconds=seconds, nanos=nanos))
    with pytest.raises(InvalidArgument, match="1970 to 9990"):
        preview_question(request, datetime(2026, 11, 21, tzinfo=UTC))
