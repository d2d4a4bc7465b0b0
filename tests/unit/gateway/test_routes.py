"""Paths lead to routes; literals win over variables, also deeper down."""

import pytest

from kronforce_gateway.routes import MAX_PATH, Routes


@pytest.fixture
def routes() -> Routes[str]:
    made: Routes[str] = Routes()
    for verb, path in (
        ("GET", "/api/jobs"),
        ("GET", "/api/jobs/{job_id}"),
        ("DELETE", "/api/jobs/{job_id}"),
        ("GET", "/api/jobs/groups"),
        ("GET", "/api/jobs/{job_id}/runs"),
        ("GET", "/api/agents/{id}/tasks/{name}"),
    ):
        made.add(verb, path, f"{verb} {path}")
    return made


@pytest.mark.parametrize(
    ("path", "target", "values"),
    [
        ("/api/jobs", "GET /api/jobs", ()),
        ("/api/jobs/groups", "GET /api/jobs/groups", ()),
        ("/api/jobs/a%20b%2Fc", "GET /api/jobs/{job_id}", ("a b/c",)),
        ("/api/jobs/groups/runs", "GET /api/jobs/{job_id}/runs", ("groups",)),
        ("/api/agents/x/tasks/%C3%A9", "GET /api/agents/{id}/tasks/{name}", ("x", "é")),
    ],
)
def test_a_path_finds_its_route(
    routes: Routes[str], path: str, target: str, values: tuple[str, ...]
) -> None:
    found = routes.find("GET", path)
    assert found is not None
    assert (found.target, found.values) == (target, values)


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/jobs/", "/api/jobs//runs", "/api/jobs/x/y", "/" + "a" * MAX_PATH]
)
def test_what_is_no_path_of_ours_is_nothing(routes: Routes[str], path: str) -> None:
    assert routes.find("GET", path) is None
    assert routes.verbs(path) == []


def test_a_path_says_what_it_takes(routes: Routes[str]) -> None:
    assert routes.find("POST", "/api/jobs/x") is None
    assert routes.verbs("/api/jobs/x") == ["DELETE", "GET"]


def test_a_literal_is_never_taken_for_a_name(routes: Routes[str]) -> None:
    assert routes.find("DELETE", "/api/jobs/groups") is None
    assert routes.verbs("/api/jobs/groups") == ["GET"]


def test_two_of_one_route_are_refused(routes: Routes[str]) -> None:
    with pytest.raises(ValueError, match="served twice"):
        routes.add("GET", "/api/jobs/{other}", "again")
