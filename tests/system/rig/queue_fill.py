"""A queue as long as wanted, made by bulk SQL out of runs that the product itself made.

Whoever calls has a run waiting of each job, and no controller running. The newest is copied with
its target, its execution and its event, so that routes, versions and deadlines are right by
themselves; only keys and ids are others.
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from kronforce.engine.keys import COUNTER
from kronforce.store import counters
from kronforce.store.database import Tx, open_database, writing
from kronforce.store.tables import Admission, events, executions, jobs, run_targets, runs, slots

# Rows of one statement: memory stays small, and one statement does most of the work.
CHUNK = 50_000
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT :low UNION ALL SELECT i + 1 FROM n WHERE i < :high) "


def multiply(url: str, copies: Mapping[str, int]) -> None:
    """Add so many waiting runs of each job, like the newest that it has."""
    database = open_database(url)
    try:
        with writing(database.main) as tx:
            first = counters.value_of(tx, COUNTER) + 1
            counters.set_to(tx, COUNTER, first + sum(copies.values()))
        for job, count in copies.items():
            for low in range(first, first + count, CHUNK):
                with writing(database.main) as tx:
                    _copy(tx, job, low, min(low + CHUNK, first + count) - 1)
            first += count
    finally:
        database.close()


def overdue(url: str, job: str) -> None:
    """Have all of the job's executions that wait have waited too long."""
    database = open_database(url)
    try:
        with writing(database.main) as tx:
            of_job = (
                executions.c.job_key
                == sa.select(jobs.c.key).where(jobs.c.name == job).scalar_subquery()
            )
            past = {"queue_deadline_at": executions.c.created_at}
            tx.conn.execute(sa.update(executions).where(of_job).values(past))
    finally:
        database.close()


def _copy(tx: Tx, job: str, low: int, high: int) -> None:
    run_id, execution_id = _new_id(tx, "r"), _new_id(tx, "e")
    template = tx.conn.execute(
        sa.select(runs.c.key, runs.c.id, runs.c.job_key, runs.c.slot_key, runs.c.admission)
        .where(runs.c.job_name == job)
        .order_by(runs.c.key.desc())
        .limit(1)
    ).one()
    values = {"low": low, "high": high, "run": template.key, "run_id": template.id}
    by_key = "run_key = :run"
    for table, where, new in (
        (runs, "key = :run", {"key": "i", "id": run_id}),
        (run_targets, by_key, {"run_key": "i"}),
        (executions, by_key, {"key": "i", "id": execution_id, "run_key": "i"}),
        (events, "run_id = :run_id", {"run_id": run_id, "execution_id": execution_id}),
    ):
        statement = _statement(table, where, new)
        names = {name: values[name] for name in values if f":{name}" in statement}
        tx.conn.execute(sa.text(statement), names)
    if template.admission == Admission.WAITING:
        mine = (slots.c.job_key == template.job_key) & (slots.c.slot_key == template.slot_key)
        more = {"waiting": slots.c.waiting + (high - low + 1)}
        tx.conn.execute(sa.update(slots).where(mine).values(more))


def _statement(table: sa.Table, where: str, new: Mapping[str, str]) -> str:
    # Events are numbered by the store.
    names = [column.name for column in table.columns if column.name != "seq"]
    shown = ", ".join(new.get(name, f"t.{name}") for name in names)
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) {_NUMBERS}"
        f"SELECT {shown} FROM n, (SELECT * FROM {table.name} WHERE {where}) AS t"
    )


def _new_id(tx: Tx, letter: str) -> str:
    """16 bytes that grow with the number, as the product's ids do."""
    if tx.sqlite:
        return f"CAST(printf('{letter}%015d', i) AS BLOB)"
    return f"convert_to('{letter}' || lpad(CAST(i AS text), 15, '0'), 'UTF8')"
