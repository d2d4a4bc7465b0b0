"""The launcher's end of one agent's connection: frames in, frames out, one send per turn.

Output is pushed only while `has_room`; what must not wait (exits, answers) is bounded by the number
of attempts and always taken.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from itertools import islice

from kronforce_agent.launcher.poller import Poller
from kronforce_agent.launcher.protocol import FrameReader, Message, encode

OUTPUT_HIGH_BYTES = 1024 * 1024
"""Queued for an agent that does not read; beyond it tasks are paused as if without credit."""
RECEIVE_BYTES = 256 * 1024
BUFFERS_PER_SEND = 512
"""Half of Linux's IOV_MAX."""
_CREDENTIALS = struct.Struct("3i")


class Link:
    """One connection. OSError from its methods means that it is over."""

    def __init__(self, sock: socket.socket, poller: Poller) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._poller = poller
        self._reader = FrameReader()
        self._out: deque[bytes] = deque()
        self._out_bytes = 0
        self.urgent = False
        """Something is queued that the agent should see this turn."""

    @property
    def fd(self) -> int:
        return self._sock.fileno()

    @property
    def has_room(self) -> bool:
        return self._out_bytes < OUTPUT_HIGH_BYTES

    def receive(self) -> list[Message]:
        """What has arrived. Raises OSError when it is over, ProtocolError on rubbish."""
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionResetError("the agent closed the connection")
        return self._reader.feed(data)

    def push(self, frame: bytes) -> None:
        self._out.append(frame)
        self._out_bytes += len(frame)
        self.urgent = True

    def send(self, message: Message) -> None:
        self.push(encode(message))

    def send_with_next(self, message: Message) -> None:
        """Queue it in its place, without hurry: a wake-up of the agent costs more than it says."""
        frame = encode(message)
        self._out.append(frame)
        self._out_bytes += len(frame)

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it; the rest when it is writable."""
        self.urgent = False
        while self._out:
            try:
                sent = self._sock.sendmsg(islice(self._out, BUFFERS_PER_SEND))
            except BlockingIOError:
                self._poller.watch_writable(self.fd, self.flush_quietly)
                return
            self._sent(sent)
        self._poller.unwatch_writable(self.fd)

    def flush_quietly(self) -> None:
        """The same from the poller; a broken connection shows up when it is read."""
        try:
            self.flush()
        except OSError:
            self._poller.unwatch_writable(self.fd)

    def close(self) -> None:
        self._poller.unwatch(self.fd)
        self._sock.close()

    def _sent(self, count: int) -> None:
        self._out_bytes -= count
        while count:
            first = self._out.popleft()
            if len(first) > count:
                self._out.appendleft(first[count:])
                return
            count -= len(first)


def peer_is_us(sock: socket.socket) -> bool:
    """Whether the other side runs as our user (or root), by SO_PEERCRED."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return uid in (0, os.getuid())
