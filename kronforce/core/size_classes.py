"""How long things took, in classes that double, and what such classes say of a percentile.

A class is the number of binary digits of the microseconds: class k holds what
took from 2^(k-1) up to 2^k. Counts in classes add up over any span of time,
which a percentile does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeCount:
    """How many fell into a class, and the longest of them in microseconds."""

    size: int
    count: int
    longest_us: int


def class_of(took_us: int) -> int:
    """The class of a duration; 0 is what took no time."""
    return max(0, took_us).bit_length()


def percentile_us(counts: Iterable[SizeCount], share: float) -> int:
    """The duration that so great a share took at most, in microseconds; 0 of nothing.

    Within its class it is as far up as its rank is, between the class's beginning and its longest:
    off by less than the class is wide, and never beyond what was seen.
    """
    ordered = sorted(counts, key=lambda each: each.size)
    rank = share * sum(each.count for each in ordered)
    for each in ordered:
        if rank <= each.count and each.count:
            begin = 1 << (each.size - 1) if each.size else 0
            return begin + round((each.longest_us - begin) * rank / each.count)
        rank -= each.count
    return ordered[-1].longest_us if ordered else 0
