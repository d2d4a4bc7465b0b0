"""What the statistics must say, counted over the runs and executions themselves."""

from collections import defaultdict

import sqlalchemy as sa

from kronforce.core.stat_windows import LENGTH_US
from kronforce.store import stats_folding
from kronforce.store.database import Tx
from kronforce.store.tables import Level, Subject, events, executions, runs, stats

SUMS = ("executions", "runs", "started", "busy_us", "longest_us", "waits", "wait_us")


def both(tx: Tx) -> tuple[dict, dict]:
    """What days must say and what they say; nothing where history was deleted, which they keep."""
    while stats_folding.fold(tx, 0):
        pass
    completed = sa.select(sa.func.count()).where(events.c.kind == "execution.completed")
    ended = sa.select(sa.func.count()).where(executions.c.finished_at.is_not(None))
    if tx.conn.scalar(completed) != tx.conn.scalar(ended):
        return {}, {}
    return _days(counted(tx)), _days(kept(tx))


def _days(found: dict) -> dict:
    """Minutes and hours of long ago are not kept, and the clocks of tests run fast."""
    return {key: sums for key, sums in found.items() if key[0] == Level.DAY}


def counted(tx: Tx) -> dict:
    """By (level, at, subject, ref, group, state): the sums, one execution after another."""
    found = defaultdict(lambda: [0] * len(SUMS))
    e, r = executions.c, runs.c
    ended = (
        sa.select(
            e.job_key, e.agent_key, r.group_name, e.state, e.started_at, e.finished_at,
            e.attempt_number, r.created_at,
        )
        .join(runs, r.key == e.run_key)
        .where(e.finished_at.is_not(None))
    )  # fmt: skip
    for row in tx.conn.execute(ended):
        sums = [1, 0, 0, 0, 0, 0, 0]
        if row.started_at is not None:
            took = max(0, row.finished_at - row.started_at)
            sums[2:5] = 1, took, took
            if row.attempt_number == 1:
                sums[5:] = 1, max(0, row.started_at - row.created_at)
        _add(found, row, row.agent_key, sums)
    for row in tx.conn.execute(sa.select(runs).where(r.finished_at.is_not(None))):
        _add(found, row, None, [0, 1, 0, 0, 0, 0, 0])
    return dict(found)


def kept(tx: Tx) -> dict:
    """The same as the statistics have it, whatever the size."""
    s = stats.c
    sums = [sa.func.max(s[n]) if n == "longest_us" else sa.func.sum(s[n]) for n in SUMS]
    keys = (s.level, s.at, s.subject, s.ref, s.group_name, s.state)
    query = sa.select(*keys, *sums).group_by(*keys)
    return {tuple(row[:6]): [int(n) for n in row[6:]] for row in tx.conn.execute(query)}


def _add(found, row, agent_key, sums) -> None:
    subjects = [(Subject.GROUP, 0), (Subject.JOB, row.job_key)]
    if agent_key is not None:
        subjects.append((Subject.AGENT, agent_key))
    for level, length in LENGTH_US.items():
        at = row.finished_at - row.finished_at % length
        for subject, ref in subjects:
            if level == Level.MINUTE and subject == Subject.AGENT:
                continue
            into = found[level, at, subject, ref, row.group_name, row.state]
            for place, number in enumerate(sums):
                into[place] = max(into[place], number) if place == 4 else into[place] + number
