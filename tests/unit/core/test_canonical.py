import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce.core.canonical import canonical_hash, canonical_json


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, "ü"]}, '{"a":[true,null,"ü"],"b":1}'),
        ({"n": 1.0, "z": -0.0, "f": 1.5}, '{"f":1.5,"n":1,"z":0}'),
        ({"big": 1e300}, '{"big":1e+300}'),
        ((1, 2), "[1,2]"),
        (b"\x00\xff", '"AP8="'),
        ({}, "{}"),
    ],
)
def test_the_canonical_form(value: Any, text: str) -> None:
    assert canonical_json(value) == text.encode()


@pytest.mark.parametrize(
    ("value", "error"),
    [(float("nan"), ValueError), (float("inf"), ValueError), ({1: 2}, TypeError), ({1}, TypeError)],
)
def test_what_json_cannot_say_is_refused(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        canonical_json(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, width=32),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
).filter(lambda value: "inf" not in repr(value))


@given(st.dictionaries(st.text(), JSON), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], rng: random.Random) -> None:
    items = list(value.items())
    rng.shuffle(items)

    assert canonical_hash(dict(items)) == canonical_hash(value)
    assert len(canonical_hash(value)) == 32


def test_another_value_has_another_hash() -> None:
    values: list[Any] = [{}, [], None, "", 0, False, "0", {"a": None}, {"a": 1}, {"a": "1"}]

    assert len({canonical_hash(value) for value in values}) == len(values)
