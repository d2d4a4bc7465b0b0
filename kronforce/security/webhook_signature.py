"""Signatures of deliveries: HMAC-SHA256 under a webhook's secret, in two forms. Pure.

Ours, `t=SECONDS,v1=HEX`, covers the instant and the delivery id beside the body:
what somebody recorded is good for 300 s, and under another delivery id not at
all. GitHub's, `sha256=HEX`, covers the body alone. Line feeds part what ours
covers, since neither digits nor a header can hold one.
"""

from __future__ import annotations

import hashlib
import hmac
import re

# How far a sender's clock may be off, either way; what is older was recorded.
WINDOW_SECS = 300

_OURS = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", re.ASCII)
_SIGNED_AS_OURS = re.compile(rb"[0-9]{1,12}\n[^\n]*\n")
_GITHUB = re.compile(r"sha256=([0-9a-f]{64})", re.ASCII)


class WrongSignature(Exception):
    """Why a delivery is not believed; completes "the delivery is refused: …"."""


def check_signature(
    secret: bytes, signature: str, *, body: bytes, delivery_id: str, now_secs: int
) -> str:
    """Raises WrongSignature. Gives a name under which this very delivery can be known again,
    empty where its form has none."""
    if github := _GITHUB.fullmatch(signature):
        if _SIGNED_AS_OURS.match(body):
            # Whoever recorded a delivery of our form has this body's signature, for ever.
            raise WrongSignature(_FORMS)
        _check(secret, body, github[1])
        return ""
    ours = _OURS.fullmatch(signature)
    if ours is None:
        raise WrongSignature(_FORMS)
    seconds, digest = ours[1], ours[2]
    _check(secret, signed_content(seconds, delivery_id, body), digest)
    if abs(now_secs - int(seconds)) > WINDOW_SECS:
        raise WrongSignature(
            f"its signature is of another time: t is {seconds}, here it is {now_secs}, and "
            f"{WINDOW_SECS} s are allowed; sign anew, and check the sender's clock"
        )
    return f"v1:{digest}"


def signed_content(seconds: str, delivery_id: str, body: bytes) -> bytes:
    """What a signature of our form is made over."""
    return f"{seconds}\n{delivery_id}\n".encode() + body


_FORMS = (
    "this webhook wants a signature, as X-Kronforce-Signature: t=SECONDS,v1=HEX or "
    "X-Hub-Signature-256: sha256=HEX"
)


def _check(secret: bytes, content: bytes, digest: str) -> None:
    wanted = hmac.new(secret, content, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, digest):
        raise WrongSignature(
            "its signature does not fit the body under this webhook's secret; the body must be "
            "signed as it is sent, byte for byte"
        )
