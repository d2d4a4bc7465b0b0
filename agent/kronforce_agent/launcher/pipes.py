"""One attempt's two output pipes: reading them, masking, and pausing when nobody takes the bytes.

A pipe is read only while `wanted` says so; a paused one is out of epoll altogether: a hung-up pipe
would be reported without end. What was read has been masked before anyone else sees it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from kronforce_agent.launcher.poller import Poller
from kronforce_agent.launcher.protocol import STDERR, STDOUT
from kronforce_redaction import Masker, MaskSet

READ_BYTES = 64 * 1024
"""A pipe's usual capacity: one read empties it."""
READS_PER_TURN = 4
"""A chatty task gets 256 KiB before its neighbours have their turn."""

ChunkSink = Callable[[int, bytes], None]


class Pipe:
    """One stream until its end."""

    def __init__(self, fd: int, stream: int, masks: MaskSet | None) -> None:
        self.fd = fd
        self.stream = stream
        self.masker = Masker(masks) if masks else None
        self.drained_bytes = 0


class Pipes:
    """Both streams of an attempt. `sink(stream, bytes)` gets every masked chunk."""

    def __init__(
        self,
        descriptors: tuple[int, int],
        masks: MaskSet | None,
        poller: Poller,
        sink: ChunkSink,
        on_read: Callable[[], None],
    ) -> None:
        out, err = descriptors
        self._open = [Pipe(out, STDOUT, masks), Pipe(err, STDERR, masks)]
        self._poller = poller
        self._sink = sink
        self._on_read = on_read
        self._wanted = False
        self._draining = False

    @property
    def all_ended(self) -> bool:
        return not self._open

    def watch(self, wanted: bool) -> None:
        """Start or stop reading when there is something to read."""
        if wanted == self._wanted:
            return
        self._wanted = wanted
        for pipe in self._open:
            if wanted:
                self._poller.watch(pipe.fd, partial(self._readable, pipe))
            else:
                self._poller.unwatch(pipe.fd)

    def drain(self, limit: int) -> None:
        """Read what is there now, up to `limit` bytes per stream counted from the first call on."""
        self._draining = True
        for pipe in list(self._open):
            while pipe.drained_bytes < limit and self._read(pipe) > 0:
                pass

    def may_drain(self, limit: int) -> bool:
        """Whether a stream that is still open has not used up its `limit`."""
        return any(pipe.drained_bytes < limit for pipe in self._open)

    def close(self) -> None:
        """End both streams here and now, and let go of what masking held back."""
        for pipe in list(self._open):
            self._end(pipe)

    def _readable(self, pipe: Pipe) -> None:
        for _ in range(READS_PER_TURN):
            count = self._read(pipe)
            self._on_read()  # may pause us
            if count < READ_BYTES or not self._wanted:
                return

    def _read(self, pipe: Pipe) -> int:
        """Bytes read; 0 at the end of the stream, -1 if there is nothing now."""
        try:
            data = os.read(pipe.fd, READ_BYTES)
        except BlockingIOError:
            return -1
        if not data:
            self._end(pipe)
            return 0
        if self._draining:
            pipe.drained_bytes += len(data)
        self._give(pipe, pipe.masker.feed(data) if pipe.masker else data)
        return len(data)

    def _end(self, pipe: Pipe) -> None:
        if self._wanted:
            self._poller.forget(pipe.fd)
        os.close(pipe.fd)
        self._open.remove(pipe)
        if pipe.masker:
            self._give(pipe, pipe.masker.flush())

    def _give(self, pipe: Pipe, data: bytes) -> None:
        if data:
            self._sink(pipe.stream, data)
