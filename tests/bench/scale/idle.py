"""A controller with many agents connected and many jobs scheduled, while nothing is due."""

from __future__ import annotations

import time
from typing import Any

from tests.bench import many_jobs, usage
from tests.bench.scale import process, writes
from tests.bench.scale.site import Site

SETTLE_SECS = 15.0
"""After the last agent came: a lease tick, the scheduler's first look, a heartbeat each."""
PER_SECS = 10.0


def measure(site: Site) -> dict[str, Any]:
    file = site.folder / "kronforce.db"
    with (
        writes.no_autovacuum(site.database),
        process.controller(site.folder, site.database) as controller,
    ):
        many_jobs.fill_store(site.database or str(file), site.spec["jobs"], many_jobs.later)
        controller.start()
        with process.fleet(controller, site.spec["agents"]) as fleet:
            fleet.until("ready")
            time.sleep(SETTLE_SECS)
            count = writes.Count(file, site.database)
            cpu, began = controller.cpu_secs(), time.monotonic()
            with site.watched({"controller": [controller.pid], "load": [fleet.pid]}):
                time.sleep(site.seconds)
                took = time.monotonic() - began
                cpu = controller.cpu_secs() - cpu
            return {
                "n": site.spec["agents"],
                "cpu": cpu / took * 100,
                "rss": usage.peak_rss_mb(controller.pid),
                "writes": count.so_far() / took * PER_SECS,
            }
