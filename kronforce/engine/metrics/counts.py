"""What the hot path counts as it goes: a few additions to plain numbers for each run.

In memory alone and since the start of the controller, but what waits and runs,
which is counted from the store at start. Written by the event loop alone. Runs
and executions are counted as they are committed, each once.
"""

from __future__ import annotations

from kronforce.core.lifecycle import State
from kronforce.engine.live import LiveExecution
from kronforce.store.hot.commands import Created, CreateRun, Finish
from kronforce.telemetry.histogram import LONG_SECONDS, Histogram
from kronforce.v1.run_pb2 import Trigger

_STATES = max(State) + 1
_TRIGGERS = max(Trigger.values()) + 1
SECOND = 1_000_000


class Counts:
    """One per engine."""

    __slots__ = ("executions", "running", "runs", "start_delay", "triggered", "waiting")

    def __init__(self) -> None:
        # Executions that have not started, and that have and have not ended.
        self.waiting = 0
        self.running = 0
        # By the contract's numbers of states and triggers.
        self.executions = [0] * _STATES
        self.runs = [0] * _STATES
        self.triggered = [0] * _TRIGGERS
        self.start_delay = Histogram(LONG_SECONDS)

    def created(self, run: CreateRun) -> None:
        """A run is stored; what is skipped of it has ended at once."""
        self.triggered[run.trigger] += 1
        open_ = 0
        if run.outcome is not Created.SKIPPED:
            for target in run.targets:
                if not target.skip_reason:
                    open_ += 1
            self.waiting += open_
        if open_ < len(run.targets):
            self.executions[State.SKIPPED] += len(run.targets) - open_
            self.runs[State.SKIPPED] += not open_

    def started(self, live: LiveExecution) -> None:
        """An agent has accepted it."""
        self.waiting -= 1
        self.running += 1
        if live.attempt_number == 1:
            assert live.started_at is not None
            delay = live.started_at - live.run.created_at
            # Negative where the wall clock was put back since.
            self.start_delay.observe(delay / SECOND if delay > 0 else 0.0)

    def ended(self, live: LiveExecution, finish: Finish) -> None:
        """Its end is stored, or was before."""
        if live.started_at is None:
            self.waiting -= 1
        else:
            self.running -= 1
        if finish.applied:
            self.executions[finish.state] += 1
            if finish.closes_run:
                self.runs[finish.run_state] += 1
