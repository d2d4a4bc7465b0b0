"""One attempt's output from the moment it is read until the agent has acknowledged it.

Chunks stand in order of their seq, in sections: in memory while the attempt and the launcher stay
below their memory limits, in segment files beyond that, a gap where the spool was full. `rewind`
makes everything unacknowledged unsent again, for a new connection. Nothing is forgotten before its
acknowledgement, except into a gap that says how much.
"""

from __future__ import annotations

import contextlib
import logging

from kronforce_agent.launcher.protocol import STDERR, STDOUT, Output, encode_output
from kronforce_agent.launcher.sections import (
    DiskSection,
    Entry,
    MemoryBudget,
    MemorySection,
    Section,
)
from kronforce_agent.launcher.spool import Spool

log = logging.getLogger(__name__)

ATTEMPT_MEMORY = 1280 * 1024
"""An attempt's whole credit (1 MiB), sent and not yet acknowledged, does not touch the disk."""
LAUNCHER_MEMORY = 32 * 1024 * 1024
"""All attempts together; keeps the process well below 100 MB whatever its tasks print."""


class GapSection(MemorySection):
    """At most one gap per stream, each with the seq of its last dropped chunk."""

    def __init__(self, budget: MemoryBudget, gaps: list[Entry]) -> None:
        super().__init__(budget)
        self.gaps = sorted(gaps, key=lambda gap: gap.seq)
        self.touched = False
        for gap in self.gaps:
            self.append(gap)

    def next(self) -> Entry:
        self.touched = True
        return super().next()


class Backlog:
    """Append at one end, send from the cursor, acknowledge from the front."""

    def __init__(self, execution_id: str, fence: int, spool: Spool, memory: MemoryBudget) -> None:
        self._execution_id = execution_id
        self._fence = fence
        self._spool = spool
        self._memory = MemoryBudget(ATTEMPT_MEMORY, memory)
        self._sections: list[Section] = []
        self._cursor = 0
        self.last_seq = 0
        self.acked_seq = 0
        self.ends = {STDOUT: 0, STDERR: 0}

    @property
    def empty(self) -> bool:
        """Everything was acknowledged."""
        return not self._sections

    @property
    def disk_bytes(self) -> int:
        return sum(s.size for s in self._sections if isinstance(s, DiskSection))

    @property
    def has_unsent(self) -> bool:
        while self._cursor < len(self._sections):
            if self._sections[self._cursor].unsent:
                return True
            if self._cursor == len(self._sections) - 1:
                return False
            self._cursor += 1
        return False

    def append(self, stream: int, data: bytes, at_micros: int) -> None:
        """Take a chunk of redacted bytes."""
        start = self.ends[stream]
        self.last_seq += 1
        self.ends[stream] = start + len(data)
        chunk = Output(
            execution_id=self._execution_id,
            fence=self._fence,
            seq=self.last_seq,
            stream=stream,
            offset=start,
            at_micros=at_micros,
            data=data,
        )
        frame = encode_output(chunk)
        self._place(
            Entry(self.last_seq, stream, start, self.ends[stream], at_micros, frame, len(data))
        )

    def next(self) -> Entry:
        """The next unsent chunk; only while has_unsent. An unreadable segment becomes a gap."""
        section = self._sections[self._cursor]
        try:
            return section.next()
        except OSError as error:
            return self._give_up(self._cursor, error).next()

    def rewind(self) -> None:
        """A new connection has seen nothing of what is not acknowledged."""
        for at, section in enumerate(self._sections):
            try:
                section.rewind()
            except OSError as error:
                self._give_up(at, error)
        self._cursor = 0

    def ack(self, seq: int) -> None:
        """Forget everything up to `seq`."""
        self.acked_seq = max(self.acked_seq, min(seq, self.last_seq))
        while self._sections and self._sections[0].ack(seq):
            self._sections.pop(0)
            self._cursor = max(0, self._cursor - 1)
        if self in self._spool.holders and not self.disk_bytes:
            self._spool.holders.discard(self)

    def resume_offsets(self) -> dict[int, int]:
        """By stream, where the first unacknowledged chunk begins; its end if all is."""
        starts: dict[int, int] = {}
        for at, section in enumerate(self._sections):
            try:
                first = section.first_starts()
            except OSError as error:
                first = self._give_up(at, error).first_starts()
            starts = {**first, **starts}
        return {**self.ends, **starts}

    def delete(self) -> None:
        """Forget everything, acknowledged or not."""
        for section in self._sections:
            section.delete()
        self._sections.clear()
        self._cursor = 0
        self._spool.holders.discard(self)

    # ---- where chunks go -----------------------------------------------------------------------

    def _place(self, entry: Entry) -> None:
        last = self._sections[-1] if self._sections else None
        if not self._memory.has_room:
            self._place_on_disk(entry, last)
        elif type(last) is MemorySection:
            last.append(entry)
        else:
            section = MemorySection(self._memory)
            section.append(entry)
            self._add(section)

    def _place_on_disk(self, entry: Entry, last: Section | None) -> None:
        try:
            if not self._spool.make_room(len(entry.frame)):
                self._drop(entry)
                return
            last = self._sections[-1] if self._sections else None  # making room may have taken it
            if not isinstance(last, DiskSection) or not last.has_room:
                last = self._new_segment(last)
            last.append(entry)
        except OSError as error:
            log.warning("output of %s dropped: spool: %s", self._execution_id, error)
            self._drop(entry)

    def _new_segment(self, last: Section | None) -> DiskSection:
        if isinstance(last, DiskSection):
            last.seal()
        section = DiskSection(self._spool.new_segment())
        self._add(section)
        self._spool.holders.add(self)
        return section

    def _add(self, section: Section) -> None:
        self._sections.append(section)

    def _give_up(self, at: int, error: OSError) -> GapSection:
        """What stands there cannot be read again: it becomes a gap, and the file is kept aside."""
        section = self._sections[at]
        assert isinstance(section, DiskSection)
        log.error("output of %s lost: spool: %s", self._execution_id, error)
        gap = GapSection(self._memory, self._gaps_for(section))
        self._sections[at] = gap
        with contextlib.suppress(OSError):
            section.keep_aside()
        section.delete()
        return gap

    # ---- gaps ----------------------------------------------------------------------------------

    def drop_middle(self) -> bool:
        """Replace the segment behind the gap, or else the middle one, by a gap. False: none."""
        places = [
            at
            for at, section in enumerate(self._sections)
            if isinstance(section, DiskSection) and section.untouched and section.size
        ]
        if not places:
            return False
        at = self._behind_gap(places)
        section = self._sections[at]
        assert isinstance(section, DiskSection)
        self._sections[at] = GapSection(self._memory, self._gaps_for(section))
        section.delete()
        self._join_gaps(at)
        return True

    def _behind_gap(self, places: list[int]) -> int:
        gaps = [at for at, s in enumerate(self._sections) if isinstance(s, GapSection)]
        behind = [at for at in places if gaps and at > gaps[-1]]
        if behind:
            return behind[0]
        return places[-1] if gaps else places[len(places) // 2]

    def _gaps_for(self, section: DiskSection) -> list[Entry]:
        return [
            self._gap(section.seqs[stream], stream, section.starts[stream], end, section.last_at)
            for stream, end in section.ends.items()
        ]

    def _drop(self, entry: Entry) -> None:
        gap = self._gap(entry.seq, entry.stream, entry.start, entry.end, entry.at_micros)
        self._add(GapSection(self._memory, [gap]))
        self._join_gaps(len(self._sections) - 1)

    def _join_gaps(self, at: int) -> None:
        """Make one of the gap at this place and its neighbours, as far as none was sent."""
        first = at - 1 if at > 0 and self._is_fresh_gap(at - 1) else at
        last = at + 1 if at + 1 < len(self._sections) and self._is_fresh_gap(at + 1) else at
        if first == last:
            return
        merged: dict[int, Entry] = {}
        for section in self._sections[first : last + 1]:
            assert isinstance(section, GapSection)
            for gap in section.gaps:
                start = merged[gap.stream].start if gap.stream in merged else gap.start
                merged[gap.stream] = self._gap(gap.seq, gap.stream, start, gap.end, gap.at_micros)
            section.delete()
        self._sections[first : last + 1] = [GapSection(self._memory, list(merged.values()))]
        if self._cursor > first:
            self._cursor = max(first, self._cursor - (last - first))

    def _is_fresh_gap(self, at: int) -> bool:
        section = self._sections[at]
        return isinstance(section, GapSection) and not section.touched

    def _gap(self, seq: int, stream: int, start: int, end: int, at_micros: int) -> Entry:
        chunk = Output(
            execution_id=self._execution_id,
            fence=self._fence,
            seq=seq,
            stream=stream,
            offset=start,
            at_micros=at_micros,
            data=b"",
            gap=end - start,
        )
        return Entry(seq, stream, start, end, at_micros, encode_output(chunk), 0)
