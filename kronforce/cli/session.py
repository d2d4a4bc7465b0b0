"""What a command works with: the settings, the clock, the two streams, and a client when asked.

One `Session` per invocation, reached through `current()`, because the parser calls commands with
their own arguments alone. The client is imported and connected on first use.
"""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kronforce.cli.settings import Settings
from kronforce.clock import Clock, SystemClock

if TYPE_CHECKING:
    from kronforce_client import Client
    from kronforce_client.discovery import Connection, Wanted

_DIM, _RED, _RESET = "\x1b[2m", "\x1b[31m", "\x1b[0m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One invocation of the command."""

    settings: Settings
    clock: Clock = field(default_factory=SystemClock)

    def wanted(self) -> Wanted:
        """What the line says of the server."""
        from kronforce_client.discovery import Wanted

        settings = self.settings
        return Wanted(
            address=settings.address,
            key=settings.key,
            ca_file=settings.ca_file,
            context=settings.context,
            insecure=settings.insecure,
        )

    def connection(self) -> Connection:
        """Where the server is, and as whom to call it."""
        from kronforce_client.discovery import discover

        return discover(self.wanted(), self.settings.environ)

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A connected client."""
        from kronforce_client import Client

        with Client(connection=self.connection()) as client:
            yield client

    @property
    def output(self) -> str:
        """The format that data is written in; `tabs` where nobody asked and nobody looks."""
        return self.settings.output or ("table" if sys.stdout.isatty() else "tabs")

    def say(self, text: str) -> None:
        """Progress or a hint, for people; silent with --quiet."""
        if not self.settings.quiet:
            self.warn(text, _DIM)

    def warn(self, text: str, style: str = "") -> None:
        """Something that is told even with --quiet."""
        coloured = style and self.settings.colours(sys.stderr.isatty())
        print(f"{style}{text}{_RESET}" if coloured else text, file=sys.stderr, flush=True)

    def ask(self, question: str, flag: str) -> None:
        """Go on only after a yes; without a terminal, fail and name the flag."""
        from kronforce.cli.failure import CommandError

        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CommandError(
                f'"{question}" needs an answer, and there is no terminal to ask on', f"add {flag}"
            )
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was changed")


_current: ContextVar[Session] = ContextVar("session")


def current() -> Session:
    """The session of this invocation."""
    return _current.get()


@contextmanager
def use(session: Session) -> Iterator[Session]:
    """Make a session the current one."""
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)
