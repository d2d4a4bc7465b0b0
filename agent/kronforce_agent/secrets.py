"""The secrets of assignments: what must be masked in output and messages, in memory only.

Executions of one job come with the same secrets again and again, so what is made of them is kept by
the secrets themselves. The launcher is told each set once per connection, under a name that says
nothing of what is in it. Nothing here is ever written, logged or reported.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable

from google.protobuf.struct_pb2 import ListValue, Struct, Value

from kronforce_agent.launcher.client import LauncherClient
from kronforce_agent.launcher.protocol import MAX_MASK_SETS
from kronforce_redaction import MaskSet, mask_text


class Secrets:
    """Those of one execution; shared by all that have the same."""

    def __init__(self, raw: tuple[bytes, ...], name: str) -> None:
        """Raises ValueError if they make too many patterns."""
        self.raw = raw
        self.name = name
        self.masks = MaskSet.of_secrets(raw)

    def __repr__(self) -> str:
        return f"Secrets({len(self.raw)})"

    def mask(self, text: str) -> str:
        """A message for people, which may quote one of them."""
        return mask_text(self.masks, text)

    def mask_struct(self, outputs: Struct) -> Struct:
        """Structured results with every text masked, names included."""
        masked = Struct()
        for name, value in outputs.fields.items():
            masked.fields[self.mask(name)].CopyFrom(self._mask_value(value))
        return masked

    def _mask_value(self, value: Value) -> Value:
        kind = value.WhichOneof("kind")
        if kind == "string_value":
            return Value(string_value=self.mask(value.string_value))
        if kind == "struct_value":
            return Value(struct_value=self.mask_struct(value.struct_value))
        if kind == "list_value":
            items = [self._mask_value(item) for item in value.list_value.values]
            return Value(list_value=ListValue(values=items))
        return value


class SecretSets:
    """What this agent has been given lately, and what its launcher has been told."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._known: OrderedDict[tuple[bytes, ...], Secrets] = OrderedDict()
        self._told: dict[str, None] = {}
        self._told_to: LauncherClient | None = None

    def of(self, raw: Iterable[bytes]) -> Secrets | None:
        """The set of these; None for none. Raises ValueError if they make too many patterns."""
        key = tuple(raw)
        if not key:
            return None
        secrets = self._known.get(key)
        if secrets is None:
            secrets = self._known[key] = Secrets(key, self._name(key))
            if len(self._known) > MAX_MASK_SETS:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return secrets

    def tell(self, launcher: LauncherClient, secrets: Secrets) -> str:
        """The name under which this launcher knows the set, after telling it where it must be."""
        if launcher is not self._told_to:
            self._told_to = launcher
            self._told.clear()
        if secrets.name not in self._told:
            launcher.set_masks(secrets.name, secrets.raw)
            self._told[secrets.name] = None
            if len(self._told) > MAX_MASK_SETS:
                del self._told[next(iter(self._told))]
        return secrets.name

    def _name(self, key: tuple[bytes, ...]) -> str:
        """Keyed, so that it is no fingerprint of a secret."""
        digest = hashlib.blake2b(key=self._key, digest_size=16)
        for secret in key:
            digest.update(len(secret).to_bytes(8) + secret)
        return digest.hexdigest()
