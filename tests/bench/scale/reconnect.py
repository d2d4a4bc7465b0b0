"""Thousands of agents that lose their controller at once, and how long until all are back.

The clock starts with the new process: its start is part of what they wait for.
"""

from __future__ import annotations

import time
from typing import Any

from tests.bench import usage
from tests.bench.scale import descriptors, process
from tests.bench.scale.site import Site

AWAY_SECS = 3.0
"""The controller stays down for so long: every agent has noticed, and is in its longer pauses."""
SETTLE_SECS = 3.0


def measure(site: Site) -> dict[str, Any]:
    agents = site.spec["agents"]
    descriptors.raise_limit(agents)
    with process.controller(site.folder) as controller:
        controller.start()
        with process.fleet(controller, agents) as fleet:
            fleet.until("ready")
            time.sleep(SETTLE_SECS)
            controller.kill()
            time.sleep(AWAY_SECS)
            began = time.monotonic()
            serving = controller.start()
            with site.watched({"controller": [controller.pid], "load": [fleet.pid]}):
                ready = fleet.until("ready")["at"]
            return {
                "n": agents,
                "secs": ready - began,
                "serving": serving,
                "rss": usage.peak_rss_mb(controller.pid),
            }
