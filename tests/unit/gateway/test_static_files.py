"""Files are served as they are, compressed for who asks, and not again to who has them."""

import gzip
import json

import pytest

from kronforce_gateway.reference import DOCUMENT, FILES, HERE
from kronforce_gateway.static_files import PAGE_POLICY, StaticFiles


async def ask(path, verb="GET", **headers):
    """Status, headers and body of one answer."""
    sent = []

    async def receive():
        raise AssertionError("no file has a body to read")

    async def send(message):
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": verb, "path": path, "headers": raw}
    await StaticFiles(FILES)(scope, receive, send)
    start, body = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], found, body["body"]


async def test_the_document_is_served_whole():
    status, headers, body = await ask("/api/openapi.json")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert body == DOCUMENT.read_bytes()


async def test_it_is_compressed_for_who_asks():
    _, headers, body = await ask("/api/openapi.json", accept_encoding="br, gzip")
    assert headers["content-encoding"] == "gzip"
    assert headers["vary"] == "accept-encoding"
    assert json.loads(gzip.decompress(body)) == json.loads(DOCUMENT.read_text())


async def test_who_has_it_is_told_so():
    _, headers, _ = await ask("/api/openapi.json")
    status, again, body = await ask("/api/openapi.json", if_none_match=headers["etag"])
    assert (status, body, again["etag"]) == (304, b"", headers["etag"])


async def test_head_has_no_body():
    status, headers, body = await ask("/api/docs", "HEAD")
    assert (status, body) == (200, b"")
    assert headers["content-type"].startswith("text/html")


async def test_another_verb_is_refused_with_what_would_do():
    status, headers, body = await ask("/api/docs", "POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert json.loads(body)["reason"] == "WRONG_VERB"


async def test_a_page_may_load_only_what_stands_beside_it():
    _, headers, _ = await ask("/api/docs")
    assert headers["content-security-policy"] == PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY


@pytest.mark.parametrize("path", sorted(FILES))
async def test_every_file_is_there(path):
    status, _, body = await ask(path)
    assert (status, bool(body)) == (200, True)


def test_every_file_of_the_page_is_served():
    beside = {each for each in HERE.iterdir() if each.suffix in (".html", ".css", ".js", ".json")}
    assert beside == set(FILES.values())


def test_the_page_has_no_script_of_its_own_and_names_no_other_host():
    text = (HERE / "index.html").read_text()
    assert "<script>" not in text
    assert "style=" not in text
    assert [
        name for name in FILES.values() if name.suffix != ".json" and "://" in name.read_text()
    ] == []
