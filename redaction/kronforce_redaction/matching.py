"""The patterns of one set: where they occur, and whether one may be about to.

An Aho-Corasick automaton finds all of them in one pass. A long pattern enters it by its first
bytes alone and is compared where those occur, so that a 64 KiB key costs no megabytes. The fast
form of the automaton takes milliseconds to build: only what masks much gets it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from ahocorasick_rs import BytesAhoCorasick, Implementation

from kronforce_redaction.forms import forms_of

MAX_PATTERNS = 100_000
"""A hundred usual secrets are about 4,000, a key of 64 KiB in short lines 80,000; more: refused."""
ANCHOR_BYTES = 256
"""What of a pattern is in the automaton."""
PREFIX_BYTES = 8
"""What of a pattern is looked for at the end of a chunk; shorter ends are in a set of their own."""
FAST_AFTER_BYTES = 1024 * 1024
"""From here on the fast automaton pays for itself."""
FAST_UP_TO_BYTES = 8 * 1024
"""Of anchors: about 3 MB of states at most."""

Span = tuple[int, int]


class MaskSet:
    """Patterns, shared by every stream that masks them."""

    def __init__(self, patterns: Iterable[bytes]) -> None:
        """Empty patterns are left out. Raises ValueError for more than MAX_PATTERNS."""
        self._patterns = sorted({pattern for pattern in patterns if pattern})
        if len(self._patterns) > MAX_PATTERNS:
            raise ValueError(f"{len(self._patterns)} mask patterns are more than {MAX_PATTERNS}")
        self._longest = max(map(len, self._patterns), default=0)
        self._anchors, self._patterns_of = _by_anchor(self._patterns)
        prefixes = {pattern[:PREFIX_BYTES] for pattern in self._patterns}
        self._short = min(PREFIX_BYTES, self._longest)
        self._first = {prefix[0] for prefix in prefixes}
        # Every end of a chunk, shorter than a prefix, that a pattern may go on from.
        self._starts = {prefix[:end] for prefix in prefixes for end in range(1, len(prefix))}
        self._find = _automaton(self._anchors)
        self._find_prefix = _automaton(sorted(prefixes))
        self._seen = 0

    @classmethod
    def of_secrets(cls, secrets: Iterable[bytes]) -> MaskSet:
        """Every form of each secret."""
        return cls(form for secret in secrets for form in forms_of(secret))

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def spans(self, buffer: bytes) -> list[Span]:
        """Where patterns occur, in order, overlapping ones merged."""
        if self._seen < FAST_AFTER_BYTES:
            self._count(len(buffer))
        found = self._find.find_matches_as_indexes(buffer, overlapping=True)
        if not found:
            return []
        spans = [
            (start, start + len(pattern))
            for which, start, _ in found
            for pattern in self._patterns_of[which]
            if len(pattern) <= ANCHOR_BYTES or buffer.startswith(pattern, start)
        ]
        return _merge(sorted(spans))

    def pending(self, buffer: bytes) -> int:
        """Where the longest suffix begins that may yet become a pattern; len(buffer) if none."""
        size = len(buffer)
        if self._longest > PREFIX_BYTES <= size:
            first = max(0, size - self._longest + 1)
            window = buffer[first:]
            found = self._find_prefix.find_matches_as_indexes(window, overlapping=True)
            for start in sorted({start for _, start, _ in found}) if found else ():
                if self._begins_pattern(window[start:]):
                    return first + start
        for start in range(max(0, size - self._short + 1), size):
            if buffer[start] in self._first and buffer[start:] in self._starts:
                return start
        return size

    def _count(self, size: int) -> None:
        self._seen += size
        if self._seen >= FAST_AFTER_BYTES and sum(map(len, self._anchors)) <= FAST_UP_TO_BYTES:
            self._find = _automaton(self._anchors, Implementation.DFA)

    def _begins_pattern(self, piece: bytes) -> bool:
        """Whether a longer pattern begins with this piece."""
        at = bisect_left(self._patterns, piece)
        if at < len(self._patterns) and self._patterns[at] == piece:
            at += 1
        return at < len(self._patterns) and self._patterns[at].startswith(piece)


def _by_anchor(patterns: list[bytes]) -> tuple[list[bytes], list[list[bytes]]]:
    """The anchors, and beside each the patterns that begin with it and have no longer one."""
    found: dict[bytes, list[bytes]] = {}
    for pattern in patterns:
        found.setdefault(pattern[:ANCHOR_BYTES], []).append(pattern)
    return list(found), list(found.values())


def _automaton(
    patterns: list[bytes], form: Implementation = Implementation.NoncontiguousNFA
) -> BytesAhoCorasick:
    return BytesAhoCorasick(patterns, implementation=form)


def _merge(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
