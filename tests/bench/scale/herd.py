"""Many jobs due in the same second: all once, and how late the last of them started."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from kronforce.v1.execution_pb2 import EXECUTION_STATE_SUCCEEDED
from tests.bench import many_jobs
from tests.bench.books import Void
from tests.bench.scale import ledger, process
from tests.bench.scale.site import Site

LEAD_SECS = 5
"""Between everything being ready and the instant."""
LIMIT_SECS = 180.0
LOOK_SECS = 1.0
SECOND = 1_000_000


def measure(site: Site) -> dict[str, Any]:
    jobs, agents = site.spec["jobs"], site.spec["agents"]
    due = datetime.now(UTC) + timedelta(seconds=site.spec["ahead"])
    cron = f"{due.second} {due.minute} * * * *"
    many_jobs.fill(site.folder, jobs, lambda _: cron, ["UTC"])
    with process.controller(site.folder) as controller:
        controller.start()
        with process.agents(controller, agents, site.spec["slots"]) as pids:
            left = (due - datetime.now(UTC)).total_seconds() - LEAD_SECS
            if left < 0:
                raise Void(f"the agents came {-left:.0f} s too late for the instant")
            time.sleep(left)
            with site.watched({"controller": [controller.pid], "agent": pids}):
                _until_all_ended(site, jobs)
        return _judged(site, jobs)


def _until_all_ended(site: Site, jobs: int) -> None:
    deadline = time.monotonic() + LIMIT_SECS
    while ledger.finished(site.folder) < jobs:
        if time.monotonic() > deadline:
            raise Void(f"{ledger.finished(site.folder)} of {jobs} runs ended within {LIMIT_SECS} s")
        time.sleep(LOOK_SECS)


def _judged(site: Site, jobs: int) -> dict[str, Any]:
    fired = ledger.fired(site.folder)
    wrong = sum(state != EXECUTION_STATE_SUCCEEDED for _, _, state, _, _ in fired)
    skipped = ledger.skipped(site.folder)
    if len(fired) != jobs or wrong or skipped or len({run for _, run, *_ in fired}) != jobs:
        raise Void(f"{len(fired)} runs of {jobs} jobs, {wrong} not succeeded, {skipped} skipped")
    late = sorted((started - nominal) / SECOND for nominal, _, _, started, _ in fired)
    made = max((made - nominal) / SECOND for nominal, _, _, _, made in fired)
    return {"n": jobs, "last": late[-1], "median": late[len(late) // 2], "made": made}
