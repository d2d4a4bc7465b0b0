"""What a batch adds to the statistics: summed up here, written as a few rows at its end.

In the batch's own transaction, so that the sums are those of what is stored,
also after a crash: a row for each (minute, job, agent, group, state, size),
whatever the batch holds of it. Adding them to their buckets at once was tried:
rows of many jobs lie on as many pages, which made a run cost 20 µs more.
`store/stats_folding.py` does that later, many batches at a time.
"""

from __future__ import annotations

from collections.abc import Iterable

from kronforce.core.stat_windows import MINUTE_US
from kronforce.store.database import Tx
from kronforce.store.hot import statements as st
from kronforce.store.hot.commands import CreateRun, Finish

_SKIPPED = 8

# Minute, job, agent or None, group, state, size.
_Key = tuple[int, int, int | None, str, int, int]


class Tallies:
    """The sums of one batch: executions, runs, started, busy, longest, waits, waited."""

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[_Key, list[int]] = {}

    def add_ends(self, finishes: Iterable[Finish]) -> None:
        """Executions that this batch ends, and with them their runs. Once their runs are saved."""
        sums = self._sums
        for finish in finishes:
            if not finish.applied:
                continue
            live, ended, started = finish.live, finish.finished_at, finish.started_at
            run = live.run
            took = ended - started if started is not None and ended > started else 0
            key = (
                ended // MINUTE_US, run.job.key, finish.agent_key, run.group, finish.state,
                took.bit_length(),
            )  # fmt: skip
            row = sums.get(key)
            if row is None:
                row = sums[key] = [0, 0, 0, 0, 0, 0, 0]
            row[0] += 1
            if started is not None:
                row[2] += 1
                row[3] += took
                row[4] = max(row[4], took)
                if live.attempt_number == 1:
                    row[5] += 1
                    waited = started - run.created_at
                    if waited > 0:
                        row[6] += waited
            if finish.closes_run:
                if run.target_count == 1:
                    row[1] += 1
                else:
                    self._add_run(finish)

    def add_skipped(self, run: CreateRun, *, whole: bool) -> None:
        """An execution that is skipped as it is made; `whole` once for a run that is so with it."""
        minute = run.created_at // MINUTE_US
        row = self._row((minute, run.job.key, None, run.job.group, _SKIPPED, 0))
        row[0] += 1
        row[1] += whole

    def _add_run(self, finish: Finish) -> None:
        run, ended = finish.live.run, finish.run_ended_at or finish.finished_at
        key = (ended // MINUTE_US, run.job.key, None, run.group, finish.run_state, 0)
        self._row(key)[1] += 1

    def _row(self, key: _Key) -> list[int]:
        return self._sums.setdefault(key, [0, 0, 0, 0, 0, 0, 0])

    def save(self, tx: Tx) -> None:
        """Write them down."""
        tx.run(
            st.ADD_STATS,
            [
                (minute * MINUTE_US, job, agent, group, int(state), size, *sums)
                for (minute, job, agent, group, state, size), sums in self._sums.items()
            ],
        )
