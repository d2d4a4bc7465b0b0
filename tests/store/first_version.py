"""A database as the first version left it, with a run under way: its schema and rows, by SQL."""

import sqlalchemy as sa

from kronforce.clock import SystemClock
from kronforce.store import migrate as migration
from kronforce.store.database import open_database, writing
from kronforce.store.revisions import histories
from kronforce.v1 import job_pb2

NOW = SystemClock().now_us()
JOB, RUN, EXECUTION, AGENT = (bytes([n]) * 16 for n in (1, 2, 3, 4))

SPEC = job_pb2.Job(name="old", labels={"team": "web"}).SerializeToString(deterministic=True)

# As the first version wrote them: only columns that it had.
ROWS = {
    "jobs": {
        "key": 1, "id": JOB, "name": "old", "name_lower": "old", "group_name": "Default",
        "tags": "", "status": 1, "spec": SPEC,
        "version": 1, "revision": 1, "trusted": True, "created_at": NOW, "updated_at": NOW,
    },
    "job_versions": {
        "job_key": 1, "version": 1, "spec": SPEC,
        "actor": "p", "trusted": True, "created_at": NOW,
    },
    "agents": {
        "key": 2, "id": AGENT, "name": "elder", "registered_by": "k", "agent_type": 1,
        "built_in": False, "tags": "[]", "labels": "{}", "task_types": "[]", "facts": b"",
        "slots": 4, "draining": False, "boot_id": "b", "session_epoch": 7, "controller": "main",
        "clock_skew_ms": 0, "revision": 1, "created_at": NOW, "disconnected_at": NOW,
    },
    "runs": {
        "key": 3, "id": RUN, "job_key": 1, "job_id": JOB, "job_name": "old",
        "group_name": "Default", "job_version": 1, "state": 3, "state_reason": "", "trigger": 1,
        "principal_key": 1, "principal": "p", "client_id": "", "priority": 0, "created_at": NOW,
        "started_at": NOW, "revision": 2, "target_count": 1, "open_targets": 1, "worst": 0,
        "admission": 0, "slot_key": "", "cancelled_by": "", "step_id": "", "cause_event": "",
        "depth": 0,
    },
    "run_targets": {
        "run_key": 3, "target_index": 0, "agent_key": 2, "state": 1, "skip_reason": "",
        "attempts": 1,
    },
    "executions": {
        "key": 4, "id": EXECUTION, "run_key": 3, "job_key": 1, "target_index": 0, "step_id": "",
        "item_index": 0, "attempt_number": 1, "state": 3, "state_reason": "", "message": "",
        "phase": 5, "priority": 0, "route": 1, "agent_key": 2, "fence": 41, "losses": 0,
        "created_at": NOW, "started_at": NOW, "cancelled_by": "", "signal": 0, "stdout_bytes": 0,
        "stderr_bytes": 0,
    },
}  # fmt: skip


def make(url: str) -> None:
    """Make it in an empty database."""
    database = open_database(url)
    for engine, history in histories(database):
        with writing(engine) as tx:
            migration._upgrade(tx, history, to="0001")
    with writing(database.main) as tx:
        for name, row in ROWS.items():
            tx.conn.execute(sa.insert(_columns(name, row)).values(row))
    database.close()


def _columns(name, row):
    return sa.table(name, *(sa.column(each) for each in row))
