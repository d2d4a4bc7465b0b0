"""`python -m kronforce_agent.launcher --data-dir DIR`: started by the agent, not by hand."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from pathlib import Path

from kronforce_agent.launcher.boot import Settings, detach, serve

log = logging.getLogger("kronforce_agent.launcher")


def main() -> int:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s launcher[%(process)d] %(levelname)s %(message)s"
    )
    settings = _settings()
    gc.freeze()
    detach()
    try:
        serve(settings)
    except Exception:  # whatever it is, the log is the only place where it can be told
        log.exception("the launcher ends")
        return 1
    return 0


def _settings() -> Settings:
    parser = argparse.ArgumentParser(prog="kronforce_agent.launcher", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="the agent's data folder")
    parser.add_argument("--spool-max", type=int, default=1024**3, help="bytes of output on disk")
    values = parser.parse_args()
    return Settings(data_dir=values.data_dir.absolute(), spool_max_bytes=values.spool_max)


if __name__ == "__main__":
    sys.exit(main())
