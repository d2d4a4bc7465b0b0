"""Errors as `google.rpc.Status`, there and back."""

from __future__ import annotations

import pytest
from google.rpc import error_details_pb2

from kronforce.api.status import DOMAIN, MAX_MESSAGE, MAX_VIOLATIONS, to_status
from kronforce.api.transport import CallFailed
from kronforce.errors import Code, InvalidArgument, JobNotFound, KronforceError


def concrete(kind: type[KronforceError]) -> list[type[KronforceError]]:
    found = [kind] if kind.reason else []
    return found + [each for child in kind.__subclasses__() for each in concrete(child)]


@pytest.mark.parametrize("kind", concrete(KronforceError), ids=lambda kind: kind.__name__)
def test_every_error_goes_out_and_comes_back_as_it_was(kind: type[KronforceError]) -> None:
    error = kind("what to do next", job="etl", count=3)
    status = to_status(error)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == (DOMAIN, error.reason)
    back = CallFailed(status)
    assert (back.code, back.reason, back.message) == (kind.code, error.reason, "what to do next")
    assert back.metadata == {"job": "etl", "count": "3"}


def test_violations_are_kept_in_order() -> None:
    error = InvalidArgument.of(("name", "is required"), ("schedule.value", "has 5 fields"))
    back = CallFailed(to_status(error))
    assert [(v.field, v.description) for v in back.violations] == [
        ("name", "is required"),
        ("schedule.value", "has 5 fields"),
    ]


def test_a_status_stays_small_enough_for_trailers() -> None:
    error = InvalidArgument(
        "x" * 100_000, violations=[(f"field.{number}", "wrong") for number in range(1000)]
    )
    status = to_status(error)
    assert len(status.message) == MAX_MESSAGE
    assert len(CallFailed(status).violations) == MAX_VIOLATIONS
    assert status.ByteSize() < 8 * 1024


def test_a_status_of_somebody_else_is_read_by_its_code_alone() -> None:
    status = to_status(JobNotFound("gone"))
    del status.details[:]
    back = CallFailed(status)
    assert (back.code, back.reason, back.metadata) == (Code.NOT_FOUND, "", {})
    status.code = 99
    assert CallFailed(status).code is None
