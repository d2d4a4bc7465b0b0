"""Whatever is sent, it is a request or a 400 that says what is wrong with it: never a fault."""

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kronforce_gateway.bindings import Binding, bindings_of
from kronforce_gateway.contract import SERVICES
from kronforce_gateway.failures import Failure
from kronforce_gateway.requests import read_request

BINDINGS = list(bindings_of(SERVICES))
HOSTILE = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))

NAMES = sorted({name for each in BINDINGS for name in each.method.input_type.fields_by_name})
WORD = st.sampled_from([*NAMES, "name", "task", "type", "value", "schedule", "etag", "a.b", ""])
LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.sampled_from(["shell", "cron", "2026-01-01T00:00:00Z", "1e999", "\0"])
)
JSON = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=4)
)
BODY = st.binary(max_size=40) | JSON.map(orjson.dumps) | st.just(b'{"name": "\\udfff"}')
TEXT = st.binary(max_size=8) | st.sampled_from([b"1", b"true", b"%ff", b"%F0%9F", b"9" * 5_000])
QUERY = st.lists(
    st.tuples(WORD.map(str.encode) | st.binary(max_size=6), TEXT).map(b"=".join), max_size=4
).map(b"&".join)


@pytest.mark.parametrize("binding", BINDINGS, ids=lambda each: f"{each.verb} {each.path}")
def test_whatever_is_sent_is_a_request_or_is_refused(binding: Binding) -> None:
    @HOSTILE
    @given(QUERY, BODY, st.text(max_size=8), st.text(max_size=8))
    def check(query: bytes, body: bytes, value: str, if_match: str) -> None:
        values = tuple(value for _ in binding.variables)
        try:
            request = read_request(binding, values, query, body, if_match)
        except Failure as failure:
            told = orjson.loads(failure.body())
            assert (failure.status, bool(told["error"])) == (400, True)  # noqa: PT017
            assert told["reason"] == "INVALID_FIELD"
        else:
            assert isinstance(request, binding.request_class)

    check()
