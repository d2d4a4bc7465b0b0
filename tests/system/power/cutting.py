"""Cuts: which moments, and the disk at each of them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.system.power.recording import Recording
from tests.system.power.replay import Disk, Mode, notes


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One disk after one cut; `told` is what somebody had been told by then."""

    at: int
    mode: Mode
    disk: Path
    told: frozenset[tuple[str, str]]

    def __str__(self) -> str:
        return f"a {self.mode.value} cut at byte {self.at} of the log"

    def values(self, what: str) -> set[str]:
        return {value for told, value in self.told if told == what}


def cuts(recording: Recording, count: int, seed: int) -> Iterator[Cut]:
    """So many moments by chance and the last one; after each the disk is removed again."""
    every = list(notes(recording.log.read_bytes()))
    chance = random.Random(seed)
    moments = set(chance.sample(range(len(every)), min(count, len(every)) - 1)) | {len(every) - 1}
    disk = Disk(recording.root)
    for number, note in enumerate(every):
        disk.take(note)
        if number not in moments:
            continue
        for mode in Mode:
            target = recording.log.with_name("after-cut")
            disk.leave(target, mode, chance.randrange(1 << 32))
            told = frozenset(recording.told_before(note.end))
            yield Cut(at=note.end, mode=mode, disk=target, told=told)
            shutil.rmtree(target)
