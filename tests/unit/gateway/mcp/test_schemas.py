"""Whatever a method may reply holds against the schema that AI clients were given for it."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, assume, given, settings

from kronforce_gateway.contract import SERVICES
from kronforce_gateway.mcp import catalogue, results
from tests.unit.client.messages import messages

ODD = {"NaN", "Infinity", "-Infinity"}
TOOLS = catalogue.tools_of(SERVICES)
EXAMPLES = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    inside = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for each in inside:
            yield from texts_in(each)


@pytest.mark.parametrize("name", TOOLS)
def test_a_result_holds_against_its_tools_schema(name: str) -> None:
    validator = jsonschema_rs.Draft202012Validator(catalogue.texts()[name]["outputSchema"])

    @EXAMPLES
    @given(messages(TOOLS[name].method.output_type))
    def check(reply: Any) -> None:
        data = results.result_of(reply)["structuredContent"]
        # No reply has numbers that are none; the codec would write them as text.
        assume(not ODD & set(texts_in(data)))
        assert [str(error) for error in validator.iter_errors(data)] == []

    check()
