"""The limit of open files: thousands of connections need as many, on either side."""

from __future__ import annotations

import resource

SPARE = 1_000
"""Beside connections: files, sockets of others."""


def raise_limit(wanted: int = 0) -> None:
    """As far as it goes. Raises SystemExit where that is not enough for so many connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if wanted and hard != resource.RLIM_INFINITY and hard < wanted + SPARE:
        raise SystemExit(f"{wanted} agents need more than the {hard} files that may be open here")
