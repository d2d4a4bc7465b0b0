"""What is asked often goes by an index: cost follows what is open, not what ever was."""

import pytest
import sqlalchemy as sa

from kronforce.store import audit, executions, explaining, jobs, open_work, retention, runs, status
from kronforce.store.database import reading
from tests.store.rig import ADMIN
from tests.store.rows import EVERYTHING, FIRST, NOW

QUESTIONS = {
    "held": open_work.held,
    "held by one": lambda tx: open_work.held_by(tx, [1, 2]),
    "ready routes": open_work.ready_routes,
    "the head of a route": lambda tx: open_work.ready_head(tx, 1, 10),
    "due retries": lambda tx: open_work.due_retries(tx, NOW, 10),
    "overdue": lambda tx: open_work.overdue(tx, NOW, 10),
    "run deadlines": lambda tx: open_work.run_deadlines(tx, NOW, 10),
    "runs too old": lambda tx: retention.finished_before(tx, NOW),
    "runs beyond a history": lambda tx: retention.beyond_history(tx, 1, 5, scope=ADMIN),
    "jobs that limit their history": open_work.jobs_with_history_limit,
    "jobs to forget": lambda tx: retention.delete_jobs(tx, NOW),
    "instants to forget": lambda tx: retention.delete_skips(tx, NOW),
    "request ids to forget": lambda tx: retention.delete_requests(tx, NOW),
    "executions of runs": lambda tx: retention.executions_of(tx, [1, 2]),
    "a place in the queue": lambda tx: explaining.count_ahead(tx, [1, 2], 0, 9),
    "who holds a limit": lambda tx: explaining.runs_holding(tx, EVERYTHING, 1, "", [3]),
    "a run to explain": lambda tx: explaining.run_and_attempts(tx, EVERYTHING, b"r"),
    "how many wait": open_work.count_waiting,
    "status": lambda tx: status.status(tx, EVERYTHING),
    "failed runs": lambda tx: runs.list_runs(tx, EVERYTHING, state=5, page=FIRST),
    "failed executions": lambda tx: executions.list_executions(tx, EVERYTHING, state=5, page=FIRST),
    "the newest of the audit log": lambda tx: audit.list_audit(tx, page=FIRST),
    "the audit log since": lambda tx: audit.list_audit(
        tx, filters=audit.AuditFilter(since=NOW), page=FIRST
    ),
    "runs of a job": lambda tx: runs.list_runs(tx, EVERYTHING, job_key=1, page=FIRST),
    "executions of a job": lambda tx: executions.list_executions(
        tx, EVERYTHING, job_key=1, page=FIRST
    ),
    "a job by name": lambda tx: jobs.find_job(tx, EVERYTHING, "etl"),
    "a job by id": lambda tx: jobs.find_job(tx, EVERYTHING, "0199c7a0-0000-7000-8000-000000000001"),
    "the newest runs of jobs": lambda tx: jobs.last_runs(tx, [1, 2], EVERYTHING),
    "due jobs": lambda tx: jobs.due_jobs(tx, NOW, 10),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_of_every_day_reads_the_whole_history(database, question):
    asked = []

    def note(_connection, _cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    with reading(database.main) as tx:
        if not database.sqlite:
            # What it does with a table of any size, not with an empty one.
            tx.conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
        sa.event.listen(database.main, "before_cursor_execute", note)
        tx.cursor = Listening(tx.cursor, asked)
        QUESTIONS[question](tx)
        sa.event.remove(database.main, "before_cursor_execute", note)
        plans = [line for statement in asked for line in _plan(tx, *statement)]

    assert asked
    # The status counts jobs, which is reading them.
    jobs_too = [] if question == "status" else ["jobs"]
    for table in ("runs", "executions", "audit", "fires", "requests", *jobs_too):
        whole = {f"SCAN {table}", f"SCAN {table} USING INDEX sqlite_autoindex_{table}_1"}
        whole |= {f"SCAN {table} USING INDEX jobs_name"}
        found = [line for line in plans if line in whole or f"Seq Scan on {table} " in line]
        assert found == []


def _plan(tx, statement, parameters):
    explain = "EXPLAIN QUERY PLAN " if tx.sqlite else "EXPLAIN "
    if isinstance(parameters, list):
        parameters = tuple(parameters)
    return [row[-1].strip() for row in tx.conn.exec_driver_sql(explain + statement, parameters)]


class Listening:
    """The driver's cursor, which prepared queries use; notes what it is asked."""

    def __init__(self, cursor, asked):
        self._cursor, self._asked = cursor, asked

    def execute(self, statement, parameters=()):
        self._asked.append((statement, parameters))
        return self._cursor.execute(statement, parameters)

    def __getattr__(self, name):
        return getattr(self._cursor, name)
