"""The agent's memory across restarts: what it accepted, what it started, how that ended.

ACCEPT is durable before a task starts, RESULT before it is reported; a start or an
acknowledgement is staged and rides along with the next commit, because losing it costs a repeat
and nothing else. Acknowledged results are kept for a day, in bounded number, to answer an
assignment that comes again. Everything here runs on the event loop; the disk is `segments`'
business. It must never hold a resolved task.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kronforce_agent import records
from kronforce_agent.clock import Clock
from kronforce_agent.durable import make_folder
from kronforce_agent.records import Accept, Key, Mark, ResultRecord
from kronforce_agent.segments import Callback, SegmentWriter, keep_aside, segments

log = logging.getLogger(__name__)

ROTATE_BYTES = 32 * 1024 * 1024
"""A segment is replaced after this much: a start reads at most this in a moment."""
STAGED_LIMIT_BYTES = 256 * 1024
"""Staged records that nobody waits for are handed over at this size."""
DAMAGE_SHOWN = 8
"""Places that are named in the log; there may be one a record."""
KEPT_RESULTS = 4096
KEPT_BYTES = 8 * 1024 * 1024
KEPT_MICROS = 24 * 3600 * 1_000_000
"""Acknowledged results that can still answer a duplicate: number, size and age."""


@dataclass(kw_only=True, slots=True)
class Entry:
    """What is known of an execution that is not acknowledged."""

    accept: Accept | None = None
    started_micros: int = 0
    message: bytes = b""
    """The AgentMessage that reports the result; empty while it has none."""


class Journal:
    """Open it once; stage records, then `commit` with what may happen when they are durable."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        on_trouble: Callable[[OSError | None], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._tell = on_trouble
        self._live: dict[Key, Entry] = {}
        self._kept: OrderedDict[Key, tuple[bytes, int]] = OrderedDict()
        self._kept_bytes = 0
        self._staged: list[bytes] = []
        self._staged_bytes = 0
        self._segment_bytes = 0
        self.trouble: OSError | None = None

    def open(self) -> dict[Key, Entry]:
        """Read what an earlier process left, begin a clean segment. Blocking; raises OSError."""
        self._loop = asyncio.get_running_loop()
        make_folder(self._folder)
        for path in segments(self._folder)[-1:]:
            self._read(path)
        self._writer = SegmentWriter(
            self._folder, on_durable=self._post_durable, on_trouble=self._post_trouble
        )
        self._writer.open(self._snapshot())
        return dict(self._live)

    def _read(self, path: Path) -> None:
        found = records.read(path.read_bytes())
        for record in found.records:
            self._replay(record)
        if found.torn_at is not None:
            log.warning(
                "the journal %s ends in an unfinished record at byte %d: a write that was under "
                "way when the power went; nobody was told of what it held",
                path,
                found.torn_at,
                extra={"action": "journal_torn"},
            )
        if found.damaged:
            self._tell_damage(path, keep_aside(path), found.damaged)

    def _tell_damage(self, path: Path, kept: Path, damaged: list[tuple[int, int]]) -> None:
        log.error(
            "the journal %s is damaged in %d places (%s): what is readable was taken over, and a "
            "run of which a record is missing may end lost, or run again where its job says so; "
            "the file is kept as %s: look at the disk",
            path,
            len(damaged),
            ", ".join(f"bytes {start} to {end}" for start, end in damaged[:DAMAGE_SHOWN]),
            kept,
            extra={"action": "journal_damaged"},
        )

    def close(self) -> None:
        """Write what is staged and stop. Blocking; what cannot be written now is given up."""
        self._hand_over(None)
        self._writer.close()

    def accept(self, accept: Accept) -> None:
        """Stage an ACCEPT; its task may start after a commit."""
        self._live[accept.execution_id, accept.fence] = Entry(accept=accept)
        self._stage(records.encode_accept(accept))

    def start(self, key: Key, at_micros: int, pid: int) -> None:
        """Stage a START; nobody needs to wait for it."""
        entry = self._live.get(key)
        if entry is not None:
            entry.started_micros = at_micros
            self._stage(records.encode_mark(records.START, key, at_micros, pid))

    def result(self, key: Key, message: bytes) -> None:
        """Stage a RESULT; it may be reported after a commit."""
        self._live.setdefault(key, Entry()).message = message
        self._stage(records.encode_result(message))

    def acknowledged(self, key: Key) -> None:
        """The controller has the result: it is kept for duplicates only."""
        entry = self._live.pop(key, None)
        if entry is not None:
            at = self._clock.micros()
            self._keep(key, entry.message, at)
            self._stage(records.encode_mark(records.ACKNOWLEDGED, key, at))

    def dropped(self, key: Key) -> None:
        """It was never started and never will be."""
        if self._live.pop(key, None) is not None:
            self._stage(records.encode_mark(records.DROPPED, key, self._clock.micros()))

    def kept_result(self, key: Key) -> bytes | None:
        """The report of an execution whose result was acknowledged, while it is kept."""
        found = self._kept.get(key)
        return found[0] if found else None

    def commit(self, then: Callback) -> None:
        """Call `then` on the loop when everything staged so far is durable."""
        if self._segment_bytes > ROTATE_BYTES:
            self._rotate(then)
        else:
            self._hand_over(then)

    def _rotate(self, then: Callback) -> None:
        snapshot = self._snapshot()
        self._staged, self._staged_bytes = [], 0
        self._segment_bytes = len(snapshot)
        self._writer.rotate(snapshot)
        self._writer.submit([], then)

    def _stage(self, record: bytes) -> None:
        self._staged.append(record)
        self._staged_bytes += len(record)
        self._segment_bytes += len(record)
        if self._staged_bytes > STAGED_LIMIT_BYTES:
            self._hand_over(None)

    def _hand_over(self, then: Callback | None) -> None:
        staged, self._staged, self._staged_bytes = self._staged, [], 0
        if staged or then is not None:
            self._writer.submit(staged, then)

    def _keep(self, key: Key, message: bytes, at_micros: int) -> None:
        if not message:
            return
        self._kept[key] = (message, at_micros)
        self._kept_bytes += len(message)
        oldest = at_micros - KEPT_MICROS
        while self._kept and (
            len(self._kept) > KEPT_RESULTS
            or self._kept_bytes > KEPT_BYTES
            or next(iter(self._kept.values()))[1] < oldest
        ):
            _, (dropped, _) = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)

    def _replay(self, record: records.Record) -> None:
        key = (record.execution_id, record.fence)
        if isinstance(record, Accept):
            self._live[key] = Entry(accept=record)
        elif isinstance(record, ResultRecord):
            self._live.setdefault(key, Entry()).message = record.message
        elif record.kind == records.START:
            self._live.setdefault(key, Entry()).started_micros = record.at_micros
        else:
            self._replay_end(key, record)

    def _replay_end(self, key: Key, mark: Mark) -> None:
        entry = self._live.pop(key, None)
        if entry is not None and mark.kind == records.ACKNOWLEDGED:
            self._keep(key, entry.message, mark.at_micros)

    def _snapshot(self) -> bytes:
        parts: list[bytes] = []
        for key, (message, at) in self._kept.items():
            parts += (
                records.encode_result(message),
                records.encode_mark(records.ACKNOWLEDGED, key, at),
            )
        for key, entry in self._live.items():
            if entry.accept is not None:
                parts.append(records.encode_accept(entry.accept))
            if entry.started_micros:
                parts.append(records.encode_mark(records.START, key, entry.started_micros))
            if entry.message:
                parts.append(records.encode_result(entry.message))
        return b"".join(parts)

    # Called by the writer's thread; a loop that is closed already has nobody to tell.

    def _post_durable(self, callbacks: list[Callback]) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_call_all, callbacks)

    def _post_trouble(self, error: OSError | None) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._set_trouble, error)

    def _set_trouble(self, error: OSError | None) -> None:
        self.trouble = error
        if error is None:
            log.info("the journal can be written again", extra={"action": "journal_recovered"})
        else:
            way_out = "make room" if error.errno == errno.ENOSPC else "look at the disk"
            log.error(
                "cannot write the journal in %s (%s): no new work is taken until it works, "
                "what runs goes on; %s",
                self._folder,
                error.strerror,
                way_out,
                extra={"action": "journal_failed"},
            )
        self._tell(error)


def _call_all(callbacks: list[Callback]) -> None:
    for callback in callbacks:
        callback()
