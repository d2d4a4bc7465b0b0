from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce.core.selector import SELECTOR_MAX, TERMS_MAX, SelectorError, parse_selector

LINUX = {"os": "linux", "region": "eu", "fact.kernel": "6.1 lts", "empty": ""}


@pytest.mark.parametrize(
    ("text", "labels", "matched"),
    [
        ("os=linux", LINUX, True),
        ("os==linux", LINUX, True),
        (" os = linux , region=eu ", LINUX, True),
        ("os=linux,region=us", LINUX, False),
        ("os!=windows", LINUX, True),
        ("gpu!=none", LINUX, True),
        ("os!=linux", LINUX, False),
        ("region in (us,eu)", LINUX, True),
        ("region in (us, asia)", LINUX, False),
        ("region notin (us)", LINUX, True),
        ("gpu notin (a,b)", LINUX, True),
        ("os", LINUX, True),
        ("gpu", LINUX, False),
        ("!gpu", LINUX, True),
        ("!os", LINUX, False),
        ("empty=", LINUX, True),
        ("gpu=", LINUX, False),
        ("fact.kernel=6.1 lts", LINUX, True),
        ("os", {}, False),
    ],
)
def test_a_selector_matches_labels(text: str, labels: Mapping[str, str], matched: bool) -> None:
    assert parse_selector(text).matches(labels) is matched


def test_selectors_that_mean_the_same_are_equal_and_have_one_text() -> None:
    first = parse_selector("region in (b, a),os==linux,!x")
    second = parse_selector("!x,os = linux,os=linux,region in (a,b,a)")

    assert first == second
    assert first.text == second.text == "os=linux,region in (a,b),!x"
    assert parse_selector("region in (a)") == parse_selector("region=a")


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("  ", 0),
        ("os=linux,", 9),
        ("os=linux,,a=b", 9),
        ("=linux", 0),
        ("os in linux", 0),
        ("os in (a", 0),
        ("a=b,os in ()", 4),
        ("a=b c=d", 0),
        ("!!os", 0),
        ("-x=1", 0),
        ("a=b," + "x" * SELECTOR_MAX, SELECTOR_MAX),
        (",".join(f"k{n}" for n in range(TERMS_MAX + 1)), 0),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text: str, position: int) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)

    assert caught.value.position == position


KEYS = st.from_regex(r"[a-z][a-z0-9.]{0,5}[a-z0-9]", fullmatch=True).filter(
    lambda key: key not in {"in", "notin"}
)
VALUES = st.from_regex(r"[A-Za-z0-9_:@/+.-]{1,6}", fullmatch=True)


@st.composite
def terms(draw: st.DrawFn) -> str:
    key, values = draw(KEYS), draw(st.lists(VALUES, min_size=1, max_size=3))
    operator = draw(st.sampled_from(["=", "!=", "in", "notin", "", "!"]))
    if operator in {"=", "!="}:
        return f"{key}{operator}{values[0]}"
    if operator in {"in", "notin"}:
        return f"{key} {operator} ({','.join(values)})"
    return f"{operator}{key}"


@given(st.lists(terms(), min_size=1, max_size=5), st.dictionaries(KEYS, VALUES))
def test_canonical_text_reads_back_as_the_same_selector(
    parts: list[str], labels: dict[str, str]
) -> None:
    selector = parse_selector(", ".join(parts))

    assert parse_selector(selector.text) == selector
    assert selector.matches(labels) == all(parse_selector(part).matches(labels) for part in parts)
