"""Masks output of agents that do not do it themselves, as it comes in.

Agents with the feature REDACTION mask where bytes are read; this is for the
others, whose offsets count raw bytes: what is masked keeps its length here. An
end that may begin a secret waits for what follows, but not for long, since its
agent gets no credit for it meanwhile. Secrets are in memory only. A courtesy,
not a boundary.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from kronforce.engine.agents.session import Session
from kronforce.engine.live import LiveExecution
from kronforce.v1.execution_pb2 import OutputChunk
from kronforce_redaction import MaskSet, forms_of, mask_text

# Sets of secrets whose patterns are kept ready: jobs have few, and many attempts share them.
SETS_KEPT = 256
# How long an end that may begin a secret waits for the rest.
HOLD_SECS = 0.5

_STAR = b"*"


class Masks:
    """One execution's masks, and what of its output is held back."""

    __slots__ = ("_held", "_longest", "_set", "_tails", "timed")

    def __init__(self, masks: MaskSet, longest: int) -> None:
        self._set = masks
        self._longest = longest
        self._held: list[OutputChunk] = []
        # Raw ends of what has gone on, by stream: a secret may be cut anywhere.
        self._tails: dict[int, bytes] = {}
        # Somebody releases what is held after a while.
        self.timed = False

    @property
    def holds(self) -> bool:
        """Whether something waits for what follows it."""
        return bool(self._held)

    def take(self, chunks: Sequence[OutputChunk]) -> list[OutputChunk]:
        """The chunks that may go on, masked, in order."""
        self._held += chunks
        return self._release(everything=False)

    def flush(self) -> list[OutputChunk]:
        """Everything that is held: nothing follows, or not soon."""
        return self._release(everything=True)

    def text(self, text: str) -> str:
        """A message that may quote what is secret."""
        return mask_text(self._set, text) if text else text

    def _release(self, *, everything: bool) -> list[OutputChunk]:
        held = self._held
        masked = list(held)
        ready = len(held)
        for stream in {chunk.stream for chunk in held}:
            ready = min(ready, self._mask_stream(stream, held, masked))
        if everything:
            ready = len(held)
        for chunk in held[:ready]:
            self._remember(chunk)
        self._held = held[ready:]
        return masked[:ready]

    def _mask_stream(
        self, stream: int, held: Sequence[OutputChunk], masked: list[OutputChunk]
    ) -> int:
        """Mask one stream's chunks; the place of the first that must wait."""
        tail = self._tails.get(stream, b"")
        places = [n for n, chunk in enumerate(held) if chunk.stream == stream and chunk.data]
        buffer = bytearray(tail + b"".join(held[n].data for n in places))
        raw = bytes(buffer)
        for start, end in self._set.spans(raw):
            buffer[start:end] = _STAR * (end - start)
        pending = self._set.pending(raw)
        at, waits = len(tail), len(held)
        for n in places:
            chunk = held[n]
            end = at + len(chunk.data)
            if buffer[at:end] != chunk.data:
                masked[n] = _with_data(chunk, bytes(buffer[at:end]))
            if end > pending:
                waits = min(waits, n)
            at = end
        return waits

    def _remember(self, chunk: OutputChunk) -> None:
        known = b"" if not chunk.data else self._tails.get(chunk.stream, b"")
        kept = self._longest - 1
        self._tails[chunk.stream] = (known + chunk.data)[-kept:] if kept else b""


class Masking:
    """Gives executions their masks. Belongs to the event loop."""

    def __init__(self) -> None:
        self._sets: OrderedDict[tuple[bytes, ...], tuple[MaskSet, int]] = OrderedDict()

    def watch(self, live: LiveExecution, session: Session, secrets: Iterable[bytes]) -> None:
        """Mask the output of an attempt, unless its agent does or there is nothing secret."""
        known = tuple(sorted(secrets))
        if known and not session.redacts and live.masks is None:
            live.masks = Masks(*self._set_of(known))

    def _set_of(self, secrets: tuple[bytes, ...]) -> tuple[MaskSet, int]:
        found = self._sets.get(secrets)
        if found is None:
            forms = {form for secret in secrets for form in forms_of(secret)}
            found = (MaskSet(forms), max(map(len, forms), default=1))
            self._sets[secrets] = found
            if len(self._sets) > SETS_KEPT:
                self._sets.popitem(last=False)
        self._sets.move_to_end(secrets)
        return found


def _with_data(chunk: OutputChunk, data: bytes) -> OutputChunk:
    copy = OutputChunk()
    copy.CopyFrom(chunk)
    copy.data = data
    return copy
