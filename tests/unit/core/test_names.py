import pytest

from kronforce.core.names import (
    RESERVED,
    agent_name_problem,
    group_name_problem,
    job_name_problem,
    label_key_problem,
    label_value_problem,
    tag_problem,
)

ID = "01a1fb74-47fa-706d-9768-39020d6f0ce0"


@pytest.mark.parametrize("name", ["x", "nightly backup", "Tägliche Sicherung", "a" * 200, "export"])
def test_good_names_of_jobs(name: str) -> None:
    assert job_name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "required"),
        ("a" * 201, "at most 200"),
        (" a", "space"),
        ("a ", "space"),
        ("a\nb", "line breaks"),
        ("a\x00", "control"),
        (ID, "looks like an id"),
        (ID.upper(), "looks like an id"),
        ("groups", "API's own paths"),
        ("Register", "API's own paths"),
        ("bulk-anything", "API's own paths"),
    ],
)
def test_bad_names_of_jobs_are_refused_with_the_reason(name: str, problem: str) -> None:
    assert problem in (job_name_problem(name) or "")


def test_every_literal_of_the_documented_paths_is_reserved() -> None:
    documented = {"groups", "register", "bulk-group", "rename-group", "bulk-trigger", "trigger"}

    assert all(job_name_problem(word) for word in documented | RESERVED)


def test_agents_are_named_like_jobs_but_shorter() -> None:
    assert agent_name_problem("host-1.example") is None
    assert "at most 100" in (agent_name_problem("a" * 101) or "")
    assert agent_name_problem("register")


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("Default", True),
        ("ETL jobs_2-b", True),
        ("a" * 50, True),
        ("a" * 51, False),
        ("a/b", False),
        ("ä", False),
        ("", False),
        (" a", False),
    ],
)
def test_names_of_groups(name: str, good: bool) -> None:
    assert (group_name_problem(name) is None) is good


@pytest.mark.parametrize(
    ("tag", "good"), [("gpu", True), ("a b", True), ("a,b", False), ("", False)]
)
def test_tags(tag: str, good: bool) -> None:
    assert (tag_problem(tag) is None) is good


@pytest.mark.parametrize(
    ("key", "good"),
    [
        ("os", True),
        ("team/os.version-2", True),
        ("fact.os", False),
        ("-os", False),
        ("os!", False),
        ("", False),
        ("a" * 101, False),
    ],
)
def test_keys_of_labels(key: str, good: bool) -> None:
    assert (label_key_problem(key) is None) is good


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("", True),
        ("linux", True),
        ("Debian 12", True),
        ("a,b", False),
        ("a=b", False),
        (" ", False),
    ],
)
def test_values_of_labels(value: str, good: bool) -> None:
    assert (label_value_problem(value) is None) is good
