"""What programs print of a secret, and what may be left of it.

Everything here is made with the encoders themselves, around the secret and what stands before and
after it; what must be masked follows from which characters the secret alone decides.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

MASK = b"********"

SECRETS: dict[str, bytes] = {
    "four bytes": b"x9Zq",
    "password": b"hunter2hunter2",
    "token": b"ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "with blanks": b"correct horse battery staple",
    "with quotes": b'it\'s "quoted" \\ here',
    "with a URL's characters": b"p@ss/w?rd&x=1+2%3#4",
    "with angle brackets": b"<a&b>/<c&d>",
    "UTF-8": "zürich-straße-漢字".encode(),
    "emoji": "🔑secret🔑".encode(),
    "no text": b"\xff\xfe\x00\x01binary\x80key",
    "repeating": b"abababababab",
    "with tabs": b"a\tb\tc\td",
    "longer than an anchor": bytes(range(33, 127)) * 5,
}


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    secrets: tuple[bytes, ...]
    printed: bytes
    shown: bytes


def cases() -> Iterator[Case]:
    for name, secret in SECRETS.items():
        yield from _raw(name, secret)
        yield from _base64(name, secret)
        yield from _url(name, secret)
        yield from _json(name, secret)
    yield from _lines()
    yield from _several()
    yield from _left_alone()


def _raw(name: str, secret: bytes) -> Iterator[Case]:
    surroundings = {
        "alone": (b"", b""),
        "in a line": (b"password: ", b"\n"),
        "in words": (b"abc", b"xyz"),
        "after its own beginning": (secret[:2] + b"\n" + secret[:-1] + b"\n", b"\n" + secret[:3]),
        "in quotes": (b'{"k": "', b'"}'),
    }
    for where, (before, after) in surroundings.items():
        yield Case(
            name=f"{name}, {where}",
            secrets=(secret,),
            printed=before + secret + after,
            shown=before + MASK + after,
        )


def _base64(name: str, secret: bytes) -> Iterator[Case]:
    for before in range(4):
        for after in (b"", b"~?"):  # bits that differ from those of an end
            for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
                encoded = alphabet(b"\xa5" * before + secret + after)
                first = -(-8 * before // 6)
                last = 8 * (before + len(secret)) // 6 if after else len(encoded)
                if last - first >= 6:
                    yield Case(
                        name=f"{name}, {alphabet.__name__} {before} {len(after)}",
                        secrets=(secret,),
                        printed=b"t: " + encoded + b"\n",
                        shown=b"t: " + encoded[:first] + MASK + encoded[last:] + b"\n",
                    )
    yield Case(
        name=f"{name}, base64 without padding",
        secrets=(secret,),
        printed=base64.b64encode(secret).rstrip(b"=") + b".",
        shown=MASK + b"." if 8 * len(secret) // 6 >= 5 else base64.b64encode(secret),
    )


def _url(name: str, secret: bytes) -> Iterator[Case]:
    encoders = {
        "strict": lambda: quote(secret, safe=""),
        "with slashes": lambda: quote(secret),
        "form": lambda: quote_plus(secret),
        "component": lambda: quote(secret, safe="!'()*"),
        "lower hex": lambda: _lowered(quote(secret, safe="")),
    }
    for how, encode in encoders.items():
        encoded = encode().encode()
        if encoded != secret and len(encoded) >= 6:
            yield Case(
                name=f"{name}, URL {how}",
                secrets=(secret,),
                printed=b"https://h/?q=" + encoded + b"&r=1",
                shown=b"https://h/?q=" + MASK + b"&r=1",
            )


def _lowered(escaped: str) -> str:
    head, *rest = escaped.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def _json(name: str, secret: bytes) -> Iterator[Case]:
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return
    escaped = {
        "ASCII": json.dumps(text),
        "UTF-8": json.dumps(text, ensure_ascii=False),
        "PHP": json.dumps(text).replace("/", "\\/"),
        "Go": json.dumps(text, ensure_ascii=False)
        .replace("&", "\\u0026")
        .replace("<", "\\u003c")
        .replace(">", "\\u003e"),
    }
    for how, literal in escaped.items():
        if len(literal) >= 8:
            yield Case(
                name=f"{name}, JSON {how}",
                secrets=(secret,),
                printed=b'{"a": ' + literal.encode() + b"}",
                shown=b'{"a": "' + MASK + b'"}',
            )


PEM = b"""-----BEGIN KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEF
AASCBKcwggSjAgEAAoIBAQC7
-----END KEY-----
"""


def _lines() -> Iterator[Case]:
    lines = PEM.splitlines()
    for number, line in enumerate(lines):
        yield Case(
            name=f"PEM, line {number}",
            secrets=(PEM,),
            printed=b"| " + line + b" |",
            shown=b"| " + MASK + b" |",
        )
    yield Case(name="PEM, whole", secrets=(PEM,), printed=PEM, shown=MASK + b"\n")
    yield Case(
        name="PEM, CRLF",
        secrets=(PEM,),
        printed=PEM.replace(b"\n", b"\r\n"),
        shown=(MASK + b"\r\n") * len(lines),
    )
    yield Case(
        name="PEM, indented",
        secrets=(PEM,),
        printed=b"".join(b"    " + line + b"\n" for line in lines),
        shown=(b"    " + MASK + b"\n") * len(lines),
    )
    yield Case(
        name="PEM as JSON",
        secrets=(PEM,),
        printed=json.dumps(PEM.decode()).encode(),
        shown=b'"' + MASK + b'"',
    )
    for width, secret in ((76, PEM), (64, PEM), (76, b"k" * 100)):
        whole = base64.b64encode(secret)
        pieces = [whole[at : at + width] for at in range(0, len(whole), width)]
        yield Case(
            name=f"{len(secret)} bytes as base64 in lines of {width}",
            secrets=(secret,),
            printed=b"\n".join(pieces) + b"\n",
            shown=(MASK + b"\n") * len(pieces),
        )
    yield Case(
        name="short lines are left alone",
        secrets=(b"abc\nlong line\n",),
        printed=b"abc def long line",
        shown=b"abc def " + MASK,
    )


def _several() -> Iterator[Case]:
    one, two = b"secret-one", b"one-secret"
    for printed, shown in (
        (b"secret-one-secret", MASK),
        (b"secret-one secret-two one-secret", MASK + b" secret-two " + MASK),
        (one + two, MASK + MASK),
        (b"secret-on one-secret", b"secret-on " + MASK),
        (two + b"\n" + one, MASK + b"\n" + MASK),
    ):
        yield Case(name=f"two: {printed!r}", secrets=(one, two), printed=printed, shown=shown)
    yield Case(
        name="one inside the other",
        secrets=(b"pass", b"my-password-1"),
        printed=b"my-password-1 my-password-2",
        shown=MASK + b" my-" + MASK + b"word-2",
    )


def _left_alone() -> Iterator[Case]:
    for secret in (b"", b"a", b"abc", b"\n\n\n\n", b"abc\n"):
        text = b"abc ab a \n\n\n\n" + base64.b64encode(secret)
        yield Case(name=f"too short: {secret!r}", secrets=(secret,), printed=text, shown=text)
    yield Case(
        name="base64 of a short one",
        secrets=(b"wxyz",),
        printed=b"wxyz " + base64.b64encode(b"-wxyz-"),
        shown=MASK + b" " + base64.b64encode(b"-wxyz-"),
    )
