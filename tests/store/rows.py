"""Rows that tests put into a store by hand, and the scopes they look through."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from kronforce.core.access import Role, Scope, system_scope
from kronforce.store import agents, jobs, tables
from kronforce.store.database import Database, Tx, writing
from kronforce.store.paging import PageRequest

NOW = 1_800_000_000 * 1_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND

EVERYTHING = system_scope("test")
OPS = Scope(principal_id="ops", role=Role.OPERATOR, groups=frozenset({"ops"}))
NOTHING = Scope(principal_id="none", role=Role.VIEWER, groups=frozenset())

FIRST = PageRequest(size=100)

_numbers = itertools.count(1)


def new_id() -> bytes:
    """A new id in the shape of the product's: they grow."""
    number = next(_numbers)
    return ((NOW // 1000 + number) << 80 | 0x7 << 76 | 0b10 << 62 | number).to_bytes(16, "big")


def make_job(tx: Tx, name: str, **values: Any) -> jobs.JobRow:
    given: dict[str, Any] = {
        "id": new_id(),
        "name": name,
        "group_name": "Default",
        "tags": (),
        "labels": {},
        "status": 1,
        "spec": b"spec",
        "trusted": False,
        "actor": "tester",
        "now": NOW,
        "paused_until": None,
        "next_fire_at": None,
        "next_nominal_at": None,
    }
    return jobs.insert_job(tx, **given | values)


def change_job(tx: Tx, job: jobs.JobRow, **values: Any) -> jobs.JobRow:
    given: dict[str, Any] = {
        "key": job.key,
        "expected_revision": None,
        "name": job.name,
        "group_name": job.group_name,
        "tags": job.tags,
        "labels": {},
        "status": job.status,
        "spec": job.spec,
        "trusted": job.trusted,
        "actor": "tester",
        "now": NOW,
        "paused_until": None,
        "next_fire_at": None,
        "next_nominal_at": None,
    }
    return jobs.update_job(tx, **given | values)


def make_agent(tx: Tx, name: str, **values: Any) -> agents.AgentRow:
    given: dict[str, Any] = {
        "id": new_id(),
        "name": name,
        "credential_hash": name.encode(),
        "registered_by": "token",
        "agent_type": 1,
        "built_in": False,
        "tags": ("linux",),
        "labels": {"zone": "a"},
        "task_types": ("shell",),
        "facts": b"",
        "slots": 4,
        "now": NOW,
    }
    return agents.insert_agent(tx, **given | values)


def make_run(tx: Tx, job: jobs.JobRow, **values: Any) -> sa.Row[Any]:
    """Insert a run of the job as the hot path would have left it; its row."""
    number = next(_numbers)
    given: dict[str, Any] = {
        "key": number,
        "id": new_id(),
        "job_key": job.key,
        "job_id": job.id,
        "job_name": job.name,
        "group_name": job.group_name,
        "job_version": job.version,
        "state": 1,
        "state_reason": "",
        "trigger": 2,
        "principal_key": 1,
        "principal": "tester",
        "client_id": "",
        "priority": 0,
        "created_at": NOW,
        "revision": 1,
        "target_count": 1,
        "open_targets": 0 if values.get("finished_at") else 1,
        "worst": 0,
        "admission": 0,
        "slot_key": "",
        "cancelled_by": "",
        "step_id": "",
        "cause_event": "",
        "depth": 0,
    }
    statement = sa.insert(tables.runs).values(**given | values).returning(*tables.runs.c)
    return tx.conn.execute(statement).one()


def make_target(tx: Tx, run: Any, **values: Any) -> None:
    given: dict[str, Any] = {
        "run_key": run.key,
        "target_index": 0,
        "state": 1,
        "skip_reason": "",
        "attempts": 1,
    }
    tx.conn.execute(sa.insert(tables.run_targets).values(**given | values))


def make_execution(tx: Tx, run: Any, **values: Any) -> sa.Row[Any]:
    number = next(_numbers)
    given: dict[str, Any] = {
        "key": number,
        "id": new_id(),
        "run_key": run.key,
        "job_key": run.job_key,
        "target_index": 0,
        "step_id": "",
        "item_index": 0,
        "attempt_number": number,
        "state": 1,
        "state_reason": "",
        "message": "",
        "phase": 1,
        "priority": 0,
        "route": 1,
        "fence": 0,
        "losses": 0,
        "created_at": NOW,
        "cancelled_by": "",
        "signal": 0,
        "stdout_bytes": 0,
        "stderr_bytes": 0,
    }
    statement = sa.insert(tables.executions).values(**given | values)
    return tx.conn.execute(statement.returning(*tables.executions.c)).one()


def at_once(
    fn: Callable[[Tx], Any], stores: Sequence[Database], expected: type[Exception]
) -> list[Exception]:
    """Run `fn` in a transaction of each store at the same time; what was raised, if expected."""
    raised: list[Exception] = []
    start = threading.Barrier(len(stores))

    def call(store: Database) -> None:
        start.wait()
        try:
            with writing(store.main) as tx:
                fn(tx)
        except expected as error:
            raised.append(error)

    with ThreadPoolExecutor(len(stores)) as pool:
        for future in [pool.submit(call, store) for store in stores]:
            future.result()
    return raised


def all_pages(fetch: Any, size: int) -> list[Any]:
    """Every item, page by page."""
    items: list[Any] = []
    page = fetch(PageRequest(size=size))
    items += page.items
    while page.next_after is not None:
        page = fetch(PageRequest(size=size, after=page.next_after))
        items += page.items
    return items
