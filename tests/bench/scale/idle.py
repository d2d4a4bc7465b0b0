"""A controller with many agents connected and many jobs scheduled, while nothing is due."""

from __future__ import annotations

import time
from typing import Any

from tests.bench import many_jobs, usage
from tests.bench.scale import process, wal
from tests.bench.scale.site import Site

SETTLE_SECS = 15.0
"""After the last agent came: a lease tick, the scheduler's first look, a heartbeat each."""
PER_SECS = 10.0


def measure(site: Site) -> dict[str, Any]:
    many_jobs.fill(site.folder, site.spec["jobs"], many_jobs.later)
    database = site.folder / "kronforce.db"
    with process.controller(site.folder) as controller:
        controller.start()
        with process.fleet(controller, site.spec["agents"]) as fleet:
            fleet.until("ready")
            time.sleep(SETTLE_SECS)
            written, salt = wal.commits(database)
            cpu, began = controller.cpu_secs(), time.monotonic()
            with site.watched({"controller": [controller.pid], "load": [fleet.pid]}):
                time.sleep(site.seconds)
                took = time.monotonic() - began
                cpu = controller.cpu_secs() - cpu
            written = wal.commits(database, (written, salt))[0] - written
            return {
                "n": site.spec["agents"],
                "cpu": cpu / took * 100,
                "rss": usage.peak_rss_mb(controller.pid),
                "writes": written / took * PER_SECS,
            }
