import pytest

from kronforce_egress.headers import OURS, followed, header_problem, redirected_method


@pytest.mark.parametrize("name", [*sorted(OURS), "Host", "Transfer-Encoding"])
def test_the_connections_own_headers_are_not_for_a_job_to_say(name: str) -> None:
    assert "set by the client" in header_problem(name, "x")


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "é", "a\0", "a/b", "(a)"])
def test_a_name_is_a_token(name: str) -> None:
    assert "no name" in header_problem(name, "x")


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "a\x7fb", "a\x0bb"])
def test_a_value_cannot_begin_another_header(value: str) -> None:
    assert "line break" in header_problem("X-A", value)


@pytest.mark.parametrize("value", ["", "a", "a\tb", "größe", "secret-from-a-file\n"])
def test_a_value_in_one_line_is_good_and_a_last_line_break_is_left_out(value: str) -> None:
    assert header_problem("X-A", value) == ""


@pytest.mark.parametrize(
    ("status", "method", "onward"),
    [
        (301, "GET", "GET"),
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (302, "PUT", "PUT"),
        (302, "DELETE", "DELETE"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (307, "POST", "POST"),
        (308, "PATCH", "PATCH"),
    ],
)
def test_a_redirect_is_followed_as_every_client_does(status: int, method: str, onward: str) -> None:
    assert redirected_method(status, method) == onward


def test_to_another_origin_go_only_headers_that_are_known_to_be_harmless() -> None:
    headers = [
        ("Authorization", "Bearer x"),
        ("cookie", "a=b"),
        ("X-Api-Key", "k"),
        ("PRIVATE-TOKEN", "t"),
        ("X-Whatever", "w"),
        ("Accept", "text/plain"),
        ("Content-Type", "text/plain"),
        ("USER-AGENT", "me"),
    ]

    names = {name for name, _ in followed(headers, same_origin=False, body=True)}

    assert names == {"Accept", "Content-Type", "USER-AGENT"}
    assert list(followed(headers, same_origin=True, body=True)) == headers
    assert ("Content-Type", "text/plain") not in followed(headers, same_origin=True, body=False)
