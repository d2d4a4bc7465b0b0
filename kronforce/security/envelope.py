"""Envelope encryption of what the store keeps secret: AES-256-GCM, two layers of keys.

Data keys encrypt values; each is kept in the store, wrapped by the master key,
which is not. A value carries its data key's id in front and is bound to the
place it belongs to (table, column and row id as associated data): copied into
another row it does not open. A canary under each data key shows a wrong master
key at start. Nothing here does I/O, and nothing here is printed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
ID_BYTES = 16
# Drawn at random: safe for 2^32 values under one key, far more than are ever written.
NONCE_BYTES = 12

# The first byte of everything sealed: how the rest is to be read.
_FORMAT = b"\x01"
_HEAD = len(_FORMAT) + ID_BYTES

_CANARY = b"kronforce: this opens under the right key"


class CannotOpen(Exception):
    """The key is not the one it was sealed with, or what is stored was changed."""


class MasterKey:
    """What wraps data keys; it stays in this process and never shows itself."""

    __slots__ = ("_cipher", "_raw")

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes, this has {len(raw)}")
        self._raw = raw
        self._cipher = AESGCM(raw)

    def signing_key(self, purpose: bytes) -> bytes:
        """A key for one purpose, the same as long as the master key is."""
        return hmac.new(self._raw, b"signing:" + purpose, hashlib.sha256).digest()

    def wrap(self, key_id: bytes, raw: bytes) -> bytes:
        """The data key as the store keeps it."""
        return _seal(self._cipher, b"data-key:" + key_id, raw)

    def unwrap(self, key_id: bytes, wrapped: bytes) -> bytes:
        """The data key itself. Raises CannotOpen."""
        return _open(self._cipher, b"data-key:" + key_id, wrapped)


def new_master_key() -> str:
    """A new one, as its file holds it: base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse_master_key(text: str) -> MasterKey:
    """The key of its text form (base64 or base64url of 32 bytes). Raises ValueError."""
    plain = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        raw = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("is not base64") from error
    return MasterKey(raw)


class DataKey:
    """Encrypts values; `id` goes in front of each."""

    __slots__ = ("_cipher", "id")

    def __init__(self, key_id: bytes, raw: bytes) -> None:
        self.id = key_id
        self._cipher = AESGCM(raw)

    def seal(self, place: bytes, text: bytes) -> bytes:
        """The text as the store keeps it at this place."""
        return _FORMAT + self.id + _seal(self._cipher, place, text)

    def open(self, place: bytes, sealed: bytes) -> bytes:
        """The text again. Raises CannotOpen."""
        return _open(self._cipher, place, sealed[_HEAD:])


class StoredKey(Protocol):
    """A data key as the store keeps it; `store.secret_keys.SecretKeyRow` is one."""

    @property
    def id(self) -> bytes: ...
    @property
    def wrapped(self) -> bytes: ...
    @property
    def canary(self) -> bytes: ...


class Keyring:
    """The data keys that this process has opened. Safe to use from several threads."""

    def __init__(self, master: MasterKey) -> None:
        self._master = master
        self._keys: dict[bytes, DataKey] = {}

    def signing_key(self, purpose: bytes) -> bytes:
        """A key for one purpose, the same as long as the master key is."""
        return self._master.signing_key(purpose)

    def new_key(self, key_id: bytes) -> tuple[bytes, bytes]:
        """A new data key's wrapped form and its canary."""
        raw = secrets.token_bytes(KEY_BYTES)
        key = DataKey(key_id, raw)
        return self._master.wrap(key_id, raw), key.seal(_canary_place(key_id), _CANARY)

    def key_of(self, stored: StoredKey) -> DataKey:
        """The key of a row, unwrapped once. Raises CannotOpen under another master key."""
        known = self._keys.get(stored.id)
        if known is None:
            known = DataKey(stored.id, self._master.unwrap(stored.id, stored.wrapped))
            if known.open(_canary_place(stored.id), stored.canary) != _CANARY:
                raise CannotOpen("the canary says something else")
            self._keys[stored.id] = known
        return known

    def keep_only(self, stored: Iterable[StoredKey]) -> None:
        """Learn these keys and forget all others. Raises CannotOpen."""
        self._keys = {row.id: self.key_of(row) for row in stored}

    def open(self, place: bytes, sealed: bytes) -> bytes:
        """A value again, by the key that it names. Raises CannotOpen."""
        key = self._keys.get(sealed[len(_FORMAT) : _HEAD])
        if key is None or sealed[: len(_FORMAT)] != _FORMAT:
            raise CannotOpen("it was written under a key that is not known here")
        return key.open(place, sealed)


def _canary_place(key_id: bytes) -> bytes:
    return b"canary:" + key_id


def _seal(cipher: AESGCM, place: bytes, text: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, text, place)


def _open(cipher: AESGCM, place: bytes, sealed: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
    except (InvalidTag, ValueError) as error:
        raise CannotOpen("it was written under another key, or changed since") from error
