"""NUL characters are found wherever text may stand, and nowhere else."""

import pytest
from google.protobuf.struct_pb2 import Struct

from kronforce.api.text_limits import check_text
from kronforce.errors import InvalidArgument
from kronforce.v1.job_pb2 import Job, NoopTask, ShellTask, Task
from kronforce.v1.job_service_pb2 import CreateJobRequest, TriggerJobRequest, TriggerJobsRequest


def fields_of(request) -> list[str]:
    with pytest.raises(InvalidArgument) as refused:
        check_text(request)
    return [violation.field for violation in refused.value.violations]


def test_each_place_is_named():
    shell = ShellTask(command="a\0", env={"A": "\0"})
    job = Job(name="a", tags=["good", "b\0"], labels={"x": "\0"}, task=Task(shell=shell))
    assert sorted(fields_of(CreateJobRequest(job=job))) == [
        "job.labels.x",
        "job.tags[1]",
        "job.task.command",
        "job.task.env.A",
    ]


def test_a_resource_s_places_are_named_as_in_the_resource():
    request = CreateJobRequest(job=Job(name="\0"), request_id="\0")
    with pytest.raises(InvalidArgument) as refused:
        check_text(request, "job")
    assert [each.field for each in refused.value.violations] == ["name", "request_id"]


def test_an_item_is_named_by_its_number():
    request = TriggerJobsRequest(requests=[TriggerJobRequest(), TriggerJobRequest(job_id="\0")])
    assert fields_of(request) == ["requests[1].job_id"]


def test_zero_bytes_that_are_no_text_pass():
    params = Struct()
    params.update({"zero": 0.0, "text": "free\0"})
    check_text(TriggerJobRequest(job_id="a", params=params))
    check_text(CreateJobRequest(job=Job(task=Task(noop=NoopTask()))))
