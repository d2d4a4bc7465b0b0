"""The forms in which one secret is looked for.

Raw, each line of a multi-line one by itself, base64 (three alignments, both alphabets, padded or
not, and in lines as `base64` and `openssl` write it), as a URL and as JSON would escape it. Forms
shorter than the limits are left out: they would mask what has nothing to do with the secret.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote_from_bytes

MIN_RAW_BYTES = 4
MIN_DERIVED_BYTES = 6
LINE_WIDTHS = (76, 64)
"""Of `base64` (and MIME), and of PEM."""

_URL_SAFE = ("", "/", "!'()*", ";,/?:@&=+$!'()*#")
"""What is left as it is by: a strict encoder, Python's default, encodeURIComponent, encodeURI."""


def forms_of(secret: bytes) -> set[bytes]:
    """Every pattern to mask for this secret; empty for one that is too short."""
    return {form for form in _raw(secret) if len(form) >= MIN_RAW_BYTES} | {
        form for form in _derived(secret) if len(form) >= MIN_DERIVED_BYTES
    }


def _raw(secret: bytes) -> Iterator[bytes]:
    yield secret.strip(b"\r\n")
    yield from (line.strip() for line in secret.splitlines())


def _derived(secret: bytes) -> Iterator[bytes]:
    if len(secret.strip(b"\r\n")) < MIN_RAW_BYTES:
        return
    for piece in {secret, *_raw(secret)}:
        if len(piece) >= MIN_RAW_BYTES:
            yield from _url_forms(piece)
            yield from _json_forms(piece)
    for whole in {secret, secret.strip(b"\r\n")}:
        yield from _base64_forms(whole)


def _base64_forms(secret: bytes) -> Iterator[bytes]:
    for before in range(3):
        yield from _both_alphabets(_within_base64(secret, before))
    whole = base64.b64encode(secret)
    yield from _both_alphabets({whole, whole.rstrip(b"=")})
    for width in LINE_WIDTHS:
        if len(whole) > width:
            lines = {whole[at : at + width] for at in range(0, len(whole), width)}
            yield from _both_alphabets(lines)


def _within_base64(secret: bytes, before: int) -> set[bytes]:
    """With so many bytes before it: the characters that the secret alone decides.

    The last one or two are its own only where nothing follows it.
    """
    encoded = base64.b64encode(b"\0" * before + secret)
    first = (8 * before + 5) // 6
    whole = 8 * (before + len(secret)) // 6
    return {encoded[first:whole], encoded[first:].rstrip(b"="), encoded[first:]}


def _both_alphabets(forms: set[bytes]) -> Iterator[bytes]:
    for form in forms:
        yield form
        yield form.replace(b"+", b"-").replace(b"/", b"_")


def _url_forms(secret: bytes) -> Iterator[bytes]:
    for safe in _URL_SAFE:
        escaped = quote_from_bytes(secret, safe=safe)
        yield from (each.encode() for each in (escaped, _lower_hex(escaped)))
        yield from (each.encode() for each in _plus_for_blank(escaped))


def _plus_for_blank(escaped: str) -> Iterator[str]:
    """As a form's body writes it."""
    if "%20" in escaped:
        form = escaped.replace("%20", "+")
        yield form
        yield _lower_hex(form)


def _lower_hex(escaped: str) -> str:
    parts = escaped.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


def _json_forms(secret: bytes) -> Iterator[bytes]:
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return
    for ascii_only in (True, False):
        escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        for form in (escaped, escaped.replace("/", "\\/"), _html_safe(escaped)):
            yield form.encode()
            yield _upper_hex(form).encode()


def _html_safe(escaped: str) -> str:
    """As Go's encoder writes it."""
    for char in "<>&":
        escaped = escaped.replace(char, f"\\u{ord(char):04x}")
    return escaped


def _upper_hex(escaped: str) -> str:
    parts = escaped.split("\\u")
    return "\\u".join([parts[0], *(part[:4].upper() + part[4:] for part in parts[1:])])
