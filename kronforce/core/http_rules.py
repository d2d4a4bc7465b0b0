"""What an http task must satisfy before it is stored.

Addresses and headers are judged by the very rules that the agent's client applies when the
request is made (`kronforce_egress`). A text with a placeholder is judged then, when its value is
known; here only for what no value can change. Whether an address may be reached is said when it
is: names get other addresses, and the agent's network is not the controller's.
"""

from __future__ import annotations

from collections.abc import Iterator

from kronforce.core.templates import find_placeholders
from kronforce.v1.job_pb2 import HttpTask, HttpTls
from kronforce_egress.errors import BadRequest
from kronforce_egress.headers import (
    BODY_BYTES_MAX,
    HEADERS_BYTES_MAX,
    HEADERS_MAX,
    METHODS,
    header_problem,
    headers_size,
)
from kronforce_egress.urls import PORTS, URL_BYTES_MAX, parse_url

Problem = tuple[str, str]

REDIRECTS_MAX = 20
RESPONSE_BYTES_MAX = 10 << 30
PEM_BYTES_MAX = 64 << 10
STATUS_MIN, STATUS_MAX = 100, 599

_PEM_FIELDS = {
    "ca_pem": "CERTIFICATE-----",
    "client_certificate_pem": "CERTIFICATE-----",
    "client_key_pem": "PRIVATE KEY-----",
}


def http_problems(task: HttpTask) -> Iterator[Problem]:
    """Everything that is wrong with it, by field."""
    if task.method and not _open(task.method) and task.method.upper() not in METHODS:
        yield "task.method", f"{task.method[:20]!r} is none of {', '.join(METHODS)}"
    yield from _url_problems(task.url)
    yield from _header_problems(task)
    size = len(task.body.encode())
    if size > BODY_BYTES_MAX:
        yield "task.body", f"is {size:,} bytes; at most {BODY_BYTES_MAX:,}"
    yield from _limit_problems(task)
    yield from _tls_problems(task.tls)


def _open(text: str) -> bool:
    """Whether a value may yet change it."""
    return next(find_placeholders(text), None) is not None


def _url_problems(url: str) -> Iterator[Problem]:
    if not url.strip():
        yield "task.url", "is required: https://HOST/PATH"
    elif _open(url):
        yield from _open_url_problems(url)
    else:
        try:
            parse_url(url)
        except BadRequest as error:
            yield "task.url", str(error)


def _open_url_problems(url: str) -> Iterator[Problem]:
    """The part before the first placeholder is known."""
    size = len(url.encode())
    if size > URL_BYTES_MAX:
        yield "task.url", f"has {size:,} bytes; at most {URL_BYTES_MAX:,}"
    known = url[: next(find_placeholders(url)).start].strip().lower()
    begins = [f"{scheme}://" for scheme in PORTS]
    if not any(known.startswith(each) or each.startswith(known) for each in begins):
        yield "task.url", f"{known[:20]!r}… does not begin with http:// or https://"


def _header_problems(task: HttpTask) -> Iterator[Problem]:
    if len(task.headers) > HEADERS_MAX:
        yield "task.headers", f"has {len(task.headers)} entries; at most {HEADERS_MAX}"
    size = headers_size(task.headers.items())
    if size > HEADERS_BYTES_MAX:
        yield (
            "task.headers",
            f"is {size:,} bytes; at most {HEADERS_BYTES_MAX:,}, names and values together",
        )
    seen: dict[str, str] = {}
    for name, value in sorted(task.headers.items()):
        problem = header_problem(name, value)
        twin = seen.setdefault(name.lower(), name)
        if problem:
            yield f"task.headers.{name}", problem
        elif twin != name:
            yield f"task.headers.{name}", f"is the same header as {twin}; leave one of them"


def _limit_problems(task: HttpTask) -> Iterator[Problem]:
    bounds = {
        "expect_status": (STATUS_MIN, STATUS_MAX),
        "max_redirects": (0, REDIRECTS_MAX),
        "max_response_bytes": (0, RESPONSE_BYTES_MAX),
    }
    for field, (low, high) in bounds.items():
        value = getattr(task, field)
        if task.HasField(field) and not low <= value <= high:  # type: ignore[arg-type]  # of those
            yield f"task.{field}", f"is {value:,}; must be from {low:,} to {high:,}"


def _tls_problems(tls: HttpTls) -> Iterator[Problem]:
    for field, mark in _PEM_FIELDS.items():
        text = getattr(tls, field)
        size = len(text.encode())
        if size > PEM_BYTES_MAX:
            yield f"task.tls.{field}", f"is {size:,} bytes; at most {PEM_BYTES_MAX:,}"
        elif text and not _open(text) and mark not in text:
            yield f"task.tls.{field}", f"is no PEM text; it has no line -----BEGIN …{mark}"
    if "ENCRYPTED PRIVATE KEY" in tls.client_key_pem or "Proc-Type: 4,ENC" in tls.client_key_pem:
        yield "task.tls.client_key_pem", "is encrypted; give it without a password, as a secret"
    if bool(tls.client_certificate_pem) != bool(tls.client_key_pem):
        lacking = "client_key_pem" if tls.client_certificate_pem else "client_certificate_pem"
        yield f"task.tls.{lacking}", "is required: certificate and key go together"
