import re
from pathlib import Path

import pytest

from kronforce import errors
from kronforce.errors import Code, InvalidArgument, JobNotFound, KronforceError, NotFound

CONTRACT = Path(__file__).parents[2] / "proto/kronforce/v1/error_reason.proto"


def every_error() -> list[type[KronforceError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, KronforceError)
    ]


def codes_in_the_contract() -> dict[str, str]:
    """Reason to the code that its comment names in brackets."""
    text = CONTRACT.read_text().partition("enum ErrorReason")[2]
    found = re.findall(r"\[([A-Z_]+)\]\s*ERROR_REASON_([A-Z_]+) =", text)
    return {reason: code for code, reason in found}


def test_each_class_goes_with_the_code_that_the_contract_gives_its_reason() -> None:
    contract = codes_in_the_contract()

    ours = {cls.reason: cls.code.name for cls in every_error() if cls.reason}

    assert ours == contract


def test_an_error_carries_reason_code_metadata_and_message() -> None:
    error = JobNotFound("there is no job 'x'; `kronforce job list` shows all", job="x", tries=2)

    assert (error.reason, error.code) == ("JOB_NOT_FOUND", Code.NOT_FOUND)
    assert error.metadata == {"job": "x", "tries": "2"}
    assert str(error) == error.message


def test_an_error_without_a_reason_of_its_own_must_be_given_one() -> None:
    with pytest.raises(TypeError, match="reason"):
        NotFound("gone")
    assert NotFound("gone", reason="RUN_NOT_FOUND").reason == "RUN_NOT_FOUND"


def test_wrong_input_lists_each_field_in_violations_and_message() -> None:
    error = InvalidArgument.of(("name", "is required"), ("priority", "at most 1,000"))

    assert [(v.field, v.description) for v in error.violations] == [
        ("name", "is required"),
        ("priority", "at most 1,000"),
    ]
    assert error.message == "name: is required; priority: at most 1,000"
