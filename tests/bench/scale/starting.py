"""How long a controller takes until it serves, with many scheduled jobs, and what it costs then.

The start that counts is a restart: the folder has been served before. Pages of the database are in
the system's cache, as after a crash of the process.
"""

from __future__ import annotations

import time
from typing import Any

from tests.bench import many_jobs, usage
from tests.bench.scale import process
from tests.bench.scale.site import Site

FEW = 10
"""Jobs of the controller that the cost at rest is compared with."""
SETTLE_SECS = 5.0


def measure(site: Site) -> dict[str, Any]:
    many, few = site.folder / "many", site.folder / "few"
    for folder, jobs in ((many, site.spec["jobs"]), (few, FEW)):
        folder.mkdir()
        many_jobs.fill(folder, jobs, many_jobs.later)
    with process.controller(many) as controller, process.controller(few) as small:
        controller.start()
        controller.stop()
        took = controller.start()
        result = {"n": site.spec["jobs"], "secs": took}
        if site.spec.get("rest"):
            small.start()
            time.sleep(SETTLE_SECS)
            before = controller.cpu_secs(), small.cpu_secs()
            with site.watched({"controller": [controller.pid]}):
                time.sleep(site.seconds)
                used = controller.cpu_secs() - before[0]
                base = small.cpu_secs() - before[1]
            result["ratio"] = used / base
        result["rss"] = usage.peak_rss_mb(controller.pid)
        return result
