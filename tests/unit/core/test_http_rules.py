from typing import Any

import pytest

from kronforce.core.http_rules import http_problems
from kronforce.v1.job_pb2 import HttpTask, HttpTls

URL = "https://api.example/health"
KEY = "-----BEGIN PRIVATE KEY-----\n…\n-----END PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n"


def problems(**fields: Any) -> dict[str, str]:
    return dict(http_problems(HttpTask(**{"url": URL, **fields})))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"method": "get"},
        {"method": "Patch", "body": "x", "headers": {"Content-Type": "text/plain"}},
        {"url": "http://127.0.0.1:8080/x"},
        {"url": "{{BASE_URL}}/api/status"},
        {"url": "https://{{HOST}}:{{PORT}}/x y"},
        {"url": "{{ANY}}://x"},
        {"url": "http{{S}}://x"},
        {"method": "{{METHOD}}"},
        {"headers": {"Authorization": "Bearer {{TOKEN}}"}},
        {"expect_status": 100, "max_redirects": 0, "max_response_bytes": 0},
        {"expect_status": 599, "max_redirects": 20, "max_response_bytes": 10 << 30},
        {"tls": HttpTls(ca_pem=CERTIFICATE)},
        {"tls": HttpTls(client_certificate_pem=CERTIFICATE, client_key_pem=KEY)},
        {"tls": HttpTls(client_certificate_pem="{{CERT}}", client_key_pem="{{KEY}}")},
    ],
)
def test_a_request_that_can_be_made_is_stored(fields: dict[str, Any]) -> None:
    assert problems(**fields) == {}


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"url": ""}, "task.url", "required"),
        ({"url": "  "}, "task.url", "required"),
        ({"url": "api.example/x"}, "task.url", "does not begin with http:// or https://"),
        ({"url": "api.example/{{X}}"}, "task.url", "does not begin with http:// or https://"),
        ({"url": "ftp://{{X}}"}, "task.url", "does not begin with http:// or https://"),
        ({"url": "http://user:pass@api.example/"}, "task.url", "in a header"),
        ({"url": "http://0177.1/"}, "task.url", "write 127.0.0.1"),
        ({"url": "http://h/" + "x" * 8192}, "task.url", "8,192"),
        ({"url": "http://{{X}}/" + "x" * 8192}, "task.url", "8,192"),
        ({"method": "brew"}, "task.method", "none of GET, HEAD"),
        ({"headers": {"Host": "x"}}, "task.headers.Host", "set by the client"),
        ({"headers": {"a b": "x"}}, "task.headers.a b", "no name"),
        ({"headers": {"A": "x\ny: z"}}, "task.headers.A", "line break"),
        ({"headers": {"Accept": "a", "accept": "b"}}, "task.headers.accept", "same header"),
        ({"headers": {f"X-{n}": "" for n in range(101)}}, "task.headers", "at most 100"),
        ({"headers": {"X": "x" * 65_536}}, "task.headers", "65,536"),
        ({"body": "é" * 524_289}, "task.body", "1,048,578 bytes; at most 1,048,576"),
        ({"expect_status": 99}, "task.expect_status", "from 100 to 599"),
        ({"expect_status": 600}, "task.expect_status", "from 100 to 599"),
        ({"max_redirects": 21}, "task.max_redirects", "from 0 to 20"),
        ({"max_redirects": -1}, "task.max_redirects", "from 0 to 20"),
        ({"max_response_bytes": -1}, "task.max_response_bytes", "from 0"),
        ({"max_response_bytes": (10 << 30) + 1}, "task.max_response_bytes", "10,737,418,240"),
        ({"tls": HttpTls(ca_pem="/etc/ca.pem")}, "task.tls.ca_pem", "no PEM"),
        ({"tls": HttpTls(ca_pem=CERTIFICATE + "x" * 65_536)}, "task.tls.ca_pem", "at most 65,536"),
        ({"tls": HttpTls(client_key_pem=KEY)}, "task.tls.client_certificate_pem", "together"),
        (
            {"tls": HttpTls(client_certificate_pem=CERTIFICATE)},
            "task.tls.client_key_pem",
            "together",
        ),
        (
            {
                "tls": HttpTls(
                    client_certificate_pem=CERTIFICATE,
                    client_key_pem=KEY.replace("PRIVATE", "ENCRYPTED PRIVATE"),
                )
            },
            "task.tls.client_key_pem",
            "encrypted",
        ),
    ],
)
def test_a_request_that_cannot_be_made_is_refused_by_field(
    fields: dict[str, Any], field: str, says: str
) -> None:
    found = problems(**fields)

    assert set(found) == {field}
    assert says in found[field]
