"""API keys, agent credentials, join tokens, webhook tokens: how they are made, read and recognised.

Each holds 256 random bits, so one SHA-256 is as good as a slow hash: there is
nothing to guess. The store keeps hashes only; the text is shown once. Nothing
here does I/O.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass

from kronforce.core import ids
from kronforce.security.secret import Secret

API_KEY = "kf_"
AGENT_CREDENTIAL = "kfa_"
JOIN_TOKEN = "kfj_"  # noqa: S105 - the public prefix, not a token
WEBHOOK_TOKEN = "kfw_"  # noqa: S105 - the public prefix, not a token
WEBHOOK_SECRET = "kfs_"  # noqa: S105 - the public prefix, not a secret

SECRET_BYTES = 32

# What `prefix` shows of a key: its kind and 8 of 43 characters, 48 of 256 bits.
SHOWN = 8

# Longer text is no key of ours (a join token's CA included: a certificate is below 4 KiB).
MAX_LENGTH = 8_192


def new_api_key() -> Secret:
    """`kf_…`"""
    return Secret(API_KEY + secrets.token_urlsafe(SECRET_BYTES))


def new_agent_credential() -> Secret:
    """`kfa_…`"""
    return Secret(AGENT_CREDENTIAL + secrets.token_urlsafe(SECRET_BYTES))


def new_webhook_token() -> Secret:
    """`kfw_…`: who has it fires a job."""
    return Secret(WEBHOOK_TOKEN + secrets.token_urlsafe(SECRET_BYTES))


def new_webhook_secret() -> Secret:
    """`kfs_…`: the key of a webhook's signatures; its text is what HMAC takes."""
    return Secret(WEBHOOK_SECRET + secrets.token_urlsafe(SECRET_BYTES))


def webhook_prefix(token: Secret) -> str:
    """`kfw_xxxxxxxx`, to recognise a token by."""
    return token.reveal()[: len(WEBHOOK_TOKEN) + SHOWN]


def shown_prefix(key: Secret) -> str:
    """`kf_xxxxxxxx`, to recognise a key by."""
    return key.reveal()[: len(API_KEY) + SHOWN]


def hash_of(text: str) -> bytes:
    """What the store keeps of a key or credential: SHA-256 of the whole text."""
    return hashlib.sha256(text.encode()).digest()


def is_api_key(text: str) -> bool:
    """Whether the text has the shape of an API key; says nothing of whether it is valid."""
    return text.startswith(API_KEY) and _MIN_LENGTH <= len(text) <= MAX_LENGTH


# A key brought in from outside (KRONFORCE_BOOTSTRAP_ADMIN_KEY) has at least 128 bits as hex.
_MIN_LENGTH = len(API_KEY) + 32


def bearer(header: str) -> str | None:
    """The key in an `authorization` header, or None if it is not `Bearer kf_…` or `kfa_…`."""
    if header[:7].lower() != "bearer " or len(header) > MAX_LENGTH:
        return None
    text = header[7:].strip()
    return text if text.startswith((API_KEY, AGENT_CREDENTIAL)) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinToken:
    """`kfj_<id>.<secret>`, and with TLS `.<CA certificate>` (base64url of its DER)."""

    id: bytes
    hash: bytes
    ca_der: bytes | None


def new_join_token(token_id: bytes, ca_der: bytes | None = None) -> Secret:
    """The token's text for a row with this id; store `parse_join_token(...).hash` of it."""
    text = f"{JOIN_TOKEN}{token_id.hex()}.{secrets.token_urlsafe(SECRET_BYTES)}"
    return Secret(text if ca_der is None else f"{text}.{_base64url(ca_der)}")


def parse_join_token(text: str) -> JoinToken | None:
    """The parts of a token, or None if it is not one. The hash is over id and secret alone."""
    if not text.startswith(JOIN_TOKEN) or len(text) > MAX_LENGTH:
        return None
    token_id, _, rest = text.removeprefix(JOIN_TOKEN).partition(".")
    secret, _, ca = rest.partition(".")
    raw_id = _id_bytes(token_id)
    if raw_id is None or not secret:
        return None
    try:
        ca_der = base64.urlsafe_b64decode(ca + "=" * (-len(ca) % 4)) if ca else None
    except (binascii.Error, ValueError):
        return None
    return JoinToken(id=raw_id, hash=hash_of(f"{JOIN_TOKEN}{raw_id.hex()}.{secret}"), ca_der=ca_der)


def _id_bytes(text: str) -> bytes | None:
    """The id as 32 hex digits, or in the usual text form."""
    if "-" in text:
        return ids.from_text(text)
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return raw if len(raw) == 16 else None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
