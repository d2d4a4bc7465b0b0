"""A store with a long history, made by bulk SQL before the product starts on it.

Everything that hangs on a short run: run, target, execution, output that came with the result,
three events. All of it ended a day longer ago than retention keeps.
"""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from kronforce.core.ids import to_text
from kronforce.engine.keys import COUNTER
from kronforce.store import counters
from kronforce.store.database import Tx, open_database, writing
from kronforce.store.migrate import migrate
from kronforce.v1.agent_service_pb2 import ExecutionOutput
from kronforce.v1.execution_pb2 import OUTPUT_STREAM_STDOUT, OutputChunk

AGE_DAYS = 8
SECOND = 1_000_000
# Rows of one statement: memory stays small, and one statement does most of the work.
CHUNK = 50_000
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT :low UNION ALL SELECT i + 1 FROM n WHERE i < :high) "
_RUN = (
    "INSERT INTO runs (key, id, job_key, job_id, job_name, group_name, job_version, state, "
    "state_reason, trigger, principal_key, principal, client_id, priority, created_at, started_at, "
    "finished_at, revision, target_count, open_targets, worst, admission, slot_key, cancelled_by, "
    "step_id, cause_event, depth) "
    "{numbers} SELECT i, {run}, 1, {run}, 'history', 'Default', 1, 4, '', 2, 1, 'admin', '', 0, "
    ":at + i, :at + i, :at + i, 3, 1, 0, 2, 0, '', '', '', '', 0 FROM n"
)
_TARGET = (
    "INSERT INTO run_targets (run_key, target_index, agent_key, state, skip_reason, attempts) "
    "{numbers} SELECT i, 0, 1, 4, '', 1 FROM n"
)
_EXECUTION = (
    "INSERT INTO executions (key, id, run_key, job_key, target_index, step_id, item_index, "
    "attempt_number, state, state_reason, message, phase, priority, route, agent_key, fence, "
    "losses, created_at, assigned_at, started_at, finished_at, cancelled_by, exit_code, signal, "
    "stdout_bytes, stderr_bytes) "
    "{numbers} SELECT i, {execution}, i, 1, 0, '', 0, 1, 4, '', '', 0, 0, 1, 1, 1, 0, :at + i, "
    ":at + i, :at + i, :at + i, '', 0, 0, 3, 0 FROM n"
)
_OUTPUT = "INSERT INTO inline_output (execution_key, data) {numbers} SELECT i, :output FROM n"
_SAID = ExecutionOutput(
    chunks=[OutputChunk(stream=OUTPUT_STREAM_STDOUT, data=b"ok\n")]
).SerializeToString()
_EVENT = (
    "INSERT INTO events (kind, severity, at, message, actor, job_id, job_name, group_name, run_id, "
    "execution_id, agent_id) {numbers} SELECT '{kind}', 1, :at + i, '', 'admin', {run}, 'history', "
    "'Default', {run}, {execution}, NULL FROM n"
)
_KINDS = ("job.triggered", "execution.started", "execution.completed")


def fill(url: str, count: int, age_days: int = AGE_DAYS) -> None:
    """Make the store at this path or URL, with so many executions; they are due to go."""
    if "://" not in url:
        Path(url).parent.mkdir(parents=True, exist_ok=True)
    database = open_database(url)
    try:
        migrate(database)
        at = time.time_ns() // 1_000 - age_days * 86_400 * SECOND
        for low in range(1, count + 1, CHUNK):
            with writing(database.main) as tx:
                _fill(tx, low, min(low + CHUNK - 1, count), at)
        with writing(database.main) as tx:
            counters.set_to(tx, COUNTER, count + 1)
    finally:
        database.close()


def run_id(number: int) -> str:
    """The id of one of these runs, counted from 1."""
    return to_text(f"r{number:015d}".encode())


def _fill(tx: Tx, low: int, high: int, at: int) -> None:
    statements = [(each, "") for each in (_RUN, _TARGET, _EXECUTION, _OUTPUT)]
    statements += [(_EVENT, kind) for kind in _KINDS]
    for statement, kind in statements:
        values = {"low": low, "high": high, "at": at, "output": _SAID}
        tx.conn.execute(_sql(tx, statement, kind), values)


def _sql(tx: Tx, statement: str, kind: str) -> sa.TextClause:
    def number(letter: str) -> str:
        """16 bytes that grow with the number, as the product's ids do."""
        if tx.sqlite:
            return f"CAST(printf('{letter}%015d', i) AS BLOB)"
        return f"convert_to('{letter}' || lpad(CAST(i AS text), 15, '0'), 'UTF8')"

    text = statement.format(numbers=_NUMBERS, run=number("r"), execution=number("e"), kind=kind)
    return sa.text(text)
