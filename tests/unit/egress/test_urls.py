"""One reading of an URL: by rule, and against other people's parsers."""

from urllib.parse import urljoin, urlsplit

import httpcore2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce_egress.errors import BadRequest
from kronforce_egress.hosts import parse_host
from kronforce_egress.urls import Url, join_url, parse_url

# What URLs are made of, and what they are broken with.
WORDS = ["http", "https", "%2e", "%00", "::1", "..", "127.0.0.1", "0x7f", "2130706433", "80", "//"]
PIECES = st.sampled_from([*WORDS, *":/\\@?#%[].a-_0 \t\n\0äß。①\u200b\u2024&;={|"])
TEXTS = st.one_of(
    st.lists(PIECES, max_size=12).map("".join),
    st.lists(PIECES, max_size=9).map(lambda parts: "http://" + "".join(parts)),
    st.text(max_size=40).map(lambda text: "https://" + text),
)


def parsed(text: str) -> Url | None:
    try:
        return parse_url(text)
    except BadRequest:
        return None


@given(TEXTS)
def test_what_is_taken_says_the_same_to_everybody(text: str) -> None:
    url = parsed(text)
    if url is None:
        return
    written = str(url)
    theirs, engines = urlsplit(written), httpcore2.URL(written)

    assert written.isascii()
    assert parse_url(written) == url
    assert (theirs.scheme, theirs.hostname) == (url.scheme, url.host.name)
    assert (theirs.username, theirs.password, theirs.fragment) == (None, None, "")
    assert (theirs.port or {"http": 80, "https": 443}[url.scheme]) == url.port
    assert engines.host.decode().strip("[]") == url.host.name
    assert engines.origin.port == url.port
    assert engines.target.decode() == url.target


@given(TEXTS)
def test_what_is_taken_cannot_break_out_of_its_line(text: str) -> None:
    url = parsed(text)
    if url is not None:
        head = f"GET {url.target} HTTP/1.1\r\nHost: {url.authority}"
        assert head.count("\n") == 1
        assert head.count(" ") == 3


@given(TEXTS, TEXTS)
def test_a_redirect_within_a_path_stays_with_its_host(base: str, location: str) -> None:
    start = parsed(f"http://start.example/a/b?c{base.partition('#')[0][:20].encode().hex()}")
    assert start is not None
    try:
        url = join_url(start, location)
    except BadRequest:
        return
    stripped = location.strip(" \t\r\n")
    if ":" not in stripped.partition("/")[0] and not stripped.startswith("//"):
        assert url.origin == start.origin


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/x", "http://h.example/x"),
        ("x", "http://h.example/a/x"),
        ("./x", "http://h.example/a/x"),
        ("../x", "http://h.example/x"),
        ("../../../x", "http://h.example/x"),
        (".", "http://h.example/a/"),
        ("..", "http://h.example/"),
        ("/a/./b/../c", "http://h.example/a/c"),
        ("?z", "http://h.example/a/b?z"),
        ("", "http://h.example/a/b?q"),
        ("#f", "http://h.example/a/b?q"),
        ("x?y#f", "http://h.example/a/x?y"),
        ("//other.example", "http://other.example/"),
        ("https://other.example:444/x", "https://other.example:444/x"),
    ],
)
def test_a_location_leads_where_others_say_too(location: str, leads_to: str) -> None:
    base = "http://h.example/a/b?q"

    assert str(join_url(parse_url(base), location)) == leads_to
    expected = urljoin(base, location).partition("#")[0]
    assert expected.rstrip("/") == leads_to.rstrip("/")


@pytest.mark.parametrize(
    "location",
    [
        "ftp://x.example/",
        "data:1",
        "//a@b/",
        "http:x",
        "//[::1",
        "/\r\nX: 1",
        "\\\\x",
        "\x00",
    ],
)
def test_a_location_that_leads_nowhere_good_is_no_address_or_stays(location: str) -> None:
    base = parse_url("http://h.example/a/b")
    try:
        url = join_url(base, location)
    except BadRequest:
        return
    assert url.origin == base.origin


def test_what_is_not_ascii_is_written_in_ascii() -> None:
    url = parse_url("https://münchen.example/straße?größe=1 m&x={y}#weg")

    assert str(url) == (
        "https://xn--mnchen-3ya.example/stra%C3%9Fe?gr%C3%B6%C3%9Fe=1%20m&x=%7By%7D"
    )


def test_escapes_that_are_there_stay_as_they_are() -> None:
    assert parse_url("http://h.example/%41%zz%2F?%3f").target == "/%41%zz%2F?%3f"


def test_a_messages_form_has_neither_path_nor_query() -> None:
    assert parse_url("http://h.example:81/T0KEN?token=secret").site == "http://h.example:81"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("http://2130706433/", "write 127.0.0.1"),
        ("http://0177.1/", "write 127.0.0.1"),
        ("http://0xa9.0xfe.43518/", "write 169.254.169.254"),
        ("http://①②⑦.0.0.1/", "write 127.0.0.1"),
        ("http://user:secret@h/", "send credentials in a header"),
        ("example.com/x", "does not begin with http:// or https://"),
        ("localhost:8080", "does not begin with http:// or https://"),
        ("ftp://x/", "ftp: is not spoken here"),
        ("http:example.com", "http://HOST"),
        ("http://fe80::1/", "[brackets]"),
        ("http://h:0/", "from 1 to 65535"),
    ],
)
def test_a_refusal_says_what_was_meant(text: str, hint: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_url(text)

    assert hint in str(refused.value)
    assert "secret" not in str(refused.value)


@given(st.text(max_size=60))
def test_a_host_is_always_letters_of_the_dns_or_an_address(text: str) -> None:
    try:
        host = parse_host(text)
    except BadRequest:
        return
    assert host.name == host.name.lower()
    assert host.name.isascii()
    assert not set(host.name) & set("@/\\?#%[] \t\r\n\0")
