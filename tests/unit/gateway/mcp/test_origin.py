"""Which pages may call."""

import pytest

from kronforce_gateway.failures import Failure
from kronforce_gateway.mcp import origin


def headers(page, host="127.0.0.1:8080"):
    return {b"host": host.encode(), b"origin": page.encode()}


@pytest.mark.parametrize(
    "good",
    [
        {b"host": b"127.0.0.1:8080"},
        headers("http://127.0.0.1:8080"),
        headers("https://Kron.example", host="kron.example"),
        headers("https://public.example:8443", host="10.0.0.1"),
    ],
)
def test_programs_and_pages_of_ours_get_in(good):
    origin.check(good, {"public.example"})


@pytest.mark.parametrize(
    "page",
    [
        "http://evil.example",
        "http://127.0.0.1:9090",
        "http://localhost:8080",
        "null",
        "file://",
        "http://127.0.0.1:8080.evil.example",
        "http://[",
    ],
)
def test_pages_of_others_do_not(page):
    with pytest.raises(Failure) as refused:
        origin.check(headers(page), {"public.example"})
    assert (refused.value.status, refused.value.reason) == (403, "WRONG_ORIGIN")
