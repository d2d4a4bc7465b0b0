"""One attempt from its spawn until the agent has acknowledged its exit and all of its output.

    running ──main process gone──▶ draining ──pipes at their end, or 1 s──▶ ended ──acks──▶ gone
       └─timeout, cancel─▶ ending: TERM to the tree, grace, KILL until nothing is found, then drain

The outcome is the main process's. A timeout or cancel that comes after the main process has gone
changes nothing. Everything here runs on the launcher's loop and never blocks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from kronforce_agent.launcher.backlog import Backlog
from kronforce_agent.launcher.clock import Clock
from kronforce_agent.launcher.killer import Killer
from kronforce_agent.launcher.pipes import Pipes
from kronforce_agent.launcher.poller import Poller
from kronforce_agent.launcher.process import StartedProcess
from kronforce_agent.launcher.protocol import (
    EXITED,
    RUNNING,
    STDERR,
    STDOUT,
    Exited,
    Spawn,
    Started,
    TaskState,
)
from kronforce_agent.launcher.timers import Timer, Timers
from kronforce_redaction import MaskSet

DRAIN_SECS = 1.0
"""How long the pipes of a finished main process are read before whoever still writes is cut off."""
DRAIN_BYTES = 1024 * 1024
"""Read without credit at the end, per stream: a full pipe (64 KiB, at most 1 MiB) always fits."""
STARVED_SECS = 30.0
"""Without credit for this long, output goes to the spool instead of slowing the task."""

TIMED_OUT = "timed_out"
CANCELLED = "cancelled"
SUPERSEDED = "superseded"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What every attempt needs of its launcher."""

    clock: Clock
    poller: Poller
    timers: Timers
    killer: Killer
    on_output: Callable[[Attempt], None]
    """There may be something to send; called after reads."""
    on_ended: Callable[[Attempt], None]


class Attempt:
    """See the module. `credit` belongs to the connection that is there now.

    `offline`: there is no agent, or it has no controller, so nobody will grant credit.
    """

    def __init__(
        self,
        spawn: Spawn,
        process: StartedProcess,
        start_ticks: int,
        backlog: Backlog,
        masks: MaskSet | None,
        around: Surroundings,
        *,
        connected: bool,
        offline: bool,
    ) -> None:
        self.execution_id = spawn.execution_id
        self.fence = spawn.fence
        self.pid = process.pid
        self.start_ticks = start_ticks
        self.leave_background = spawn.leave_background
        self.backlog = backlog
        self.credit = spawn.credit if connected else 0
        self.exit: Exited | None = None
        self.exit_acked = False
        self.ending: str | None = None
        self._around = around
        self._grace_secs = spawn.kill_grace_secs
        self._started_at = around.clock.micros()
        self._status: int | None = None
        self._killing = False
        self._leftovers = 0
        self._killed = 0
        self._tree_gone = False
        self._spooling = False
        self._offline = offline or not connected
        self._timeout: Timer | None = None
        self._grace: Timer | None = None
        self._grace_deadline = 0.0
        self._drain: Timer | None = None
        self._starving: Timer | None = None
        self._pipes = Pipes(
            (process.stdout, process.stderr), masks, around.poller, self._chunk, self._after_read
        )
        if spawn.timeout_secs > 0:
            self._timeout = self._later(spawn.timeout_secs, lambda: self.end(TIMED_OUT, None))
        self.update_reading()

    # ---- what others ask -----------------------------------------------------------------------

    @property
    def forgettable(self) -> bool:
        return self.exit_acked and self.backlog.empty

    def started(self) -> Started:
        return Started(
            execution_id=self.execution_id,
            fence=self.fence,
            pid=self.pid,
            at_micros=self._started_at,
        )

    def state(self) -> TaskState:
        resume, ends = self.backlog.resume_offsets(), self.backlog.ends
        return TaskState(
            execution_id=self.execution_id,
            fence=self.fence,
            state=EXITED if self.exit else RUNNING,
            pid=self.pid,
            started_at_micros=self._started_at,
            acked_seq=self.backlog.acked_seq,
            last_seq=self.backlog.last_seq,
            stdout_acked=resume[STDOUT],
            stderr_acked=resume[STDERR],
            stdout_end=ends[STDOUT],
            stderr_end=ends[STDERR],
            exit=self.exit,
            exit_acked=self.exit_acked,
        )

    # ---- reading -------------------------------------------------------------------------------

    def connection_changed(self, connected: bool) -> None:
        """A new connection starts without credit; without one, output is spooled at once."""
        self.credit = 0
        self.backlog.rewind()
        self.controller_changed(offline=not connected)

    def controller_changed(self, *, offline: bool) -> None:
        """Without a controller output is spooled at once; with one, credit decides again."""
        self._offline = offline
        self._spooling = False
        self.update_reading()

    def grant(self, amount: int) -> None:
        self.credit += amount
        if self.credit > 0:
            self._spooling = False

    def update_reading(self) -> None:
        """Read while somebody takes the bytes, or the spool has to."""
        if self._pipes.all_ended:
            return
        taken = self._offline or (self.credit > 0 and not self.backlog.has_unsent)
        if self._drain is not None:
            self._pipes.watch(taken or self._pipes.may_drain(DRAIN_BYTES))
            return
        self._pipes.watch(taken or self._spooling)
        if taken and self._starving:
            self._starving.cancel()
            self._starving = None
        elif not taken and not self._spooling and self._starving is None:
            self._starving = self._later(STARVED_SECS, self._starved)

    def _starved(self) -> None:
        self._starving = None
        self._spooling = True
        self.update_reading()

    def _chunk(self, stream: int, data: bytes) -> None:
        self.backlog.append(stream, data, self._around.clock.micros())

    def _after_read(self) -> None:
        self._around.on_output(self)
        if self._drain is not None and self._pipes.all_ended:
            self._finish(cut=False)

    # ---- the end -------------------------------------------------------------------------------

    def end(self, cause: str, grace_secs: float | None) -> None:
        """TERM to the tree now, KILL after the grace; a shorter grace later shortens it."""
        if self._status is not None and self.ending is None:
            return  # it ended by itself, the pipes are being emptied
        grace = self._grace_secs if grace_secs is None else grace_secs
        if self.ending is None:
            self.ending = cause
            self._around.killer.terminate(self)
        elif self._killing or self._around.clock.monotonic() + grace >= self._grace_deadline:
            return
        if self._grace:
            self._grace.cancel()
        self._grace_deadline = self._around.clock.monotonic() + grace
        self._grace = self._later(grace, self.kill_tree)

    def main_exited(self, status: int) -> None:
        """waitpid has reaped the main process."""
        self._status = status
        if self._timeout:
            self._timeout.cancel()
        if self.ending is None or self._tree_gone:
            self._begin_drain()
        elif not self._killing:
            self._around.killer.watch(self)

    def kill_tree(self) -> None:
        """The grace is over, or everybody has obeyed: make sure that nothing is left."""
        if not self._killing and self.exit is None:
            self._killing = True
            self._around.killer.kill(self)

    def tree_gone(self, survivors: int, killed: int) -> None:
        """The killer finds nothing more of this attempt, or nothing that dies."""
        self._tree_gone = True
        self._leftovers = survivors
        self._killed = killed
        if self._grace:
            self._grace.cancel()
        if self._status is not None:
            self._begin_drain()

    def strays_killed(self, count: int) -> None:
        """So many processes were left when it had ended, and have been killed."""
        if self.exit is not None and count:
            self.exit = replace(self.exit, killed=self.exit.killed + count)

    def _begin_drain(self) -> None:
        """Empty the pipes; as long as someone else holds them open, go on watching."""
        self._pipes.drain(DRAIN_BYTES)
        if self._pipes.all_ended:
            self._finish(cut=False)
        else:
            self._drain = self._later(DRAIN_SECS, lambda: self._finish(cut=True))
            self.update_reading()

    def _finish(self, *, cut: bool) -> None:
        if self.exit is not None:
            return
        if self._drain:
            self._drain.cancel()
        if cut:
            self._pipes.drain(DRAIN_BYTES)
        cut = not self._pipes.all_ended
        self._pipes.close()
        if self._starving:
            self._starving.cancel()
        self.exit = self._outcome(cut)
        self._around.on_output(self)
        self._around.on_ended(self)

    def _outcome(self, cut: bool) -> Exited:
        assert self._status is not None
        signalled = os.WIFSIGNALED(self._status)
        return Exited(
            execution_id=self.execution_id,
            fence=self.fence,
            exit_code=None if signalled else os.WEXITSTATUS(self._status),
            signal=os.WTERMSIG(self._status) if signalled else None,
            timed_out=self.ending == TIMED_OUT,
            cancelled=self.ending in (CANCELLED, SUPERSEDED),
            stdout_end=self.backlog.ends[STDOUT],
            stderr_end=self.backlog.ends[STDERR],
            last_seq=self.backlog.last_seq,
            started_at_micros=self._started_at,
            ended_at_micros=self._around.clock.micros(),
            output_cut=cut,
            leftovers=self._leftovers,
            killed=self._killed,
        )

    def _later(self, seconds: float, call: Callable[[], None]) -> Timer:
        return self._around.timers.at(self._around.clock.monotonic() + seconds, call)
