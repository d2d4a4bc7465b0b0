"""Streaming a run to a terminal or a pipe: output to stdout and stderr, states to stderr.

Bytes go through as they are. Ctrl-C leaves the run going and says how to follow or cancel it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO

from kronforce.cli.exit_codes import Exit, of_outcome
from kronforce.cli.session import Session
from kronforce.cli.times import between
from kronforce.v1.execution_pb2 import OutputChunk, OutputStream
from kronforce.v1.run_pb2 import RunStatus, RunUpdate
from kronforce_client.handle import state_word

if TYPE_CHECKING:
    from kronforce_client import Interruption
    from kronforce_client.sync_api import RunHandle

_MARKS = {"succeeded": "✓", "failed": "✗", "timed_out": "✗", "lost": "✗"}


class Follower:
    """Writes what a run does; knows whether a line is open on the terminal."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._line_open = False
        self._told = ""
        self.last = RunStatus()

    def update(self, update: RunUpdate) -> None:
        arm = update.WhichOneof("update")
        if arm == "output":
            self.chunk(update.output.chunk)
        elif arm == "state":
            self._state(update.state)
        elif arm == "progress" and update.progress.message:
            self.say(update.progress.message)
        elif arm == "gap":
            self.say(f"{update.gap.dropped} updates were skipped")

    def chunk(self, chunk: OutputChunk) -> None:
        """Bytes through as they are; a gap becomes a line on stderr."""
        if not chunk.data:
            self.say(f"[{chunk.gap_bytes:,} bytes are missing here]")
            return
        stream = sys.stderr if chunk.stream == OutputStream.OUTPUT_STREAM_STDERR else sys.stdout
        _write(stream.buffer, chunk.data)
        if stream.isatty():
            self._line_open = not chunk.data.endswith(b"\n")

    def say(self, text: str) -> None:
        if self._session.settings.quiet:
            return
        if self._line_open:
            print(file=sys.stderr)
            self._line_open = False
        self._session.say(text)

    def interruption(self, interruption: Interruption) -> None:
        """A connection that was lost or came back; called on the client's thread."""
        if interruption.resumed:
            self.say("connected again, nothing was missed")
        elif interruption.attempt == 1:
            self.say(f"{interruption.error}; trying again")

    def _state(self, status: RunStatus) -> None:
        self.last = status
        if not status.HasField("finished_at"):
            text = _describe(status)
            if text and text != self._told:
                self._told = text
                self.say(text)
            return
        word = state_word(status.state)
        took = ""
        if status.HasField("started_at"):
            took = f" after {between(status.started_at, status.finished_at)}"
        why = status.message or status.state_reason
        shown = f": {why}" if why and word != "succeeded" else ""
        self.say(f"{_MARKS.get(word, '–')} {word.replace('_', ' ')}{took}{shown}")


def follow(session: Session, handle: RunHandle, follower: Follower) -> int:
    """Stream a run to its end; gives the exit code of its outcome."""
    try:
        with handle.updates() as updates:
            for update in updates:
                follower.update(update)
    except KeyboardInterrupt:
        detached(session, handle.id)
        return Exit.INTERRUPTED
    return of_outcome(state_word(follower.last.state))


def detached(session: Session, run_id: str) -> None:
    """What to type now that nobody follows the run any more."""
    session.warn(
        f"\nthe run goes on\n"
        f"  follow it   kronforce run logs {run_id} -f\n"
        f"  cancel it   kronforce run cancel {run_id}"
    )


def _describe(status: RunStatus) -> str:
    word = state_word(status.state)
    if word == "running":
        where = f" on {status.agent_name}" if status.agent_name else ""
        attempt = f", attempt {status.attempt_number}" if status.attempt_number > 1 else ""
        reason = f" ({status.state_reason})" if status.state_reason else ""
        return f"● running{where}{attempt}{reason}"
    why = status.message or status.state_reason
    if not why:
        return ""  # it has only just been fired
    return f"○ {word.replace('_', ' ')}{f': {why}' if why else ''}"


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)
    stream.flush()
