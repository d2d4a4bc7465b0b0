"""How an execution leaves: its result is staged, durable, reported, acknowledged, in this order.

A result stays in the table until the controller has it. The launcher hears that it may forget an
exit only after the journal has it, and output only when the controller or the journal has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kronforce.v1 import execution_pb2 as ex
from kronforce_agent import outcome as outcomes
from kronforce_agent.clock import Clock
from kronforce_agent.failpoints import failpoint
from kronforce_agent.held import FINISHED, FINISHING, Held
from kronforce_agent.journal import Journal
from kronforce_agent.launcher.client import LauncherClient
from kronforce_agent.outbox import Outbox
from kronforce_agent.outcome import Outcome, masked
from kronforce_agent.output import Chunk, OutputRouter
from kronforce_agent.table import Table

_before_report = failpoint("agent.before_report")

Ends = tuple[int, int]
"""Final offsets of standard output and standard error."""


class Endings:
    """`launcher` gives the connection while there is one."""

    def __init__(
        self,
        *,
        table: Table,
        journal: Journal,
        outbox: Outbox,
        router: OutputRouter,
        clock: Clock,
        launcher: Callable[[], LauncherClient | None],
    ) -> None:
        self._table = table
        self._journal = journal
        self._outbox = outbox
        self._router = router
        self._clock = clock
        self._launcher = launcher

    def finish(
        self, held: Held, outcome: Outcome, chunks: Sequence[Chunk] = (), ends: Ends | None = None,
        ended_micros: int = 0,
    ) -> None:  # fmt: skip
        """It ended: make that durable, then report it. `ended_micros`: when; 0 is now."""
        self._table.move(held, FINISHING)
        held.assignment = None
        self.stage(held, outcome, chunks, ends, ended_micros)
        self._journal.commit(lambda: self.report(held))

    def stage(
        self, held: Held, outcome: Outcome, chunks: Sequence[Chunk], ends: Ends | None = None,
        ended_micros: int = 0,
    ) -> None:  # fmt: skip
        """Put its result into the journal's next commit."""
        if outcome.state == ex.EXECUTION_STATE_CANCELLED and not held.asked:
            outcome = outcomes.agent_stopped(outcome)
        if held.secrets is not None:
            outcome = masked(outcome, held.secrets)
        stdout, stderr = ends or _ends(held, chunks)
        held.report = outcomes.report(
            *held.key,
            outcome,
            started_micros=held.started_micros,
            finished_micros=ended_micros or self._clock.micros(),
            stdout_bytes=stdout,
            stderr_bytes=stderr,
            output=[chunk.message() for chunk in chunks],
        )
        self._journal.result(held.key, held.report)

    def report(self, held: Held) -> None:
        """Its RESULT is durable: the launcher may forget the exit, the controller hears it."""
        held.assignment = None
        self._table.move(held, FINISHED)
        launcher = self._launcher() if held.is_process else None
        if launcher is not None:
            if held.inline and held.output is not None:
                launcher.ack_output(*held.key, held.output.last_sequence)
            launcher.ack_exit(*held.key)
        _before_report()
        self._outbox.put(held.report)

    def acknowledged(self, held: Held) -> None:
        """The controller has result and output: nothing of it needs to stay."""
        self._journal.acknowledged(held.key)
        launcher = self._launcher() if held.is_process and not held.inline else None
        if launcher is not None and held.output is not None:
            launcher.ack_output(*held.key, held.output.last_sequence)
        self.forget(held)

    def forget(self, held: Held) -> None:
        """Take it out of the table, output and all."""
        self._table.remove(held)
        if held.output is not None:
            self._router.forget(held.output)


def _ends(held: Held, chunks: Sequence[Chunk]) -> Ends:
    if held.output is not None:
        return held.output.ends[1], held.output.ends[2]
    return sum(chunk.size for chunk in chunks), 0
