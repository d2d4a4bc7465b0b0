"""The command as a person would call it: a process of its own, against a cluster."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from tests.system.rig import processes
from tests.system.rig.cluster import ADMIN_KEY, Cluster

LIMIT_SECS = 60.0


@dataclass(frozen=True, kw_only=True)
class Said:
    """How it ended and what it said."""

    code: int
    out: bytes
    err: str


async def kronforce(cluster: Cluster, *arguments: str) -> Said:
    """`kronforce ARGUMENTS` with the cluster's address and key."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "kronforce", *arguments),
        env=processes.clean_environment()
        | {
            "KRONFORCE_ADDRESS": cluster.address,
            "KRONFORCE_KEY": ADMIN_KEY,
            "HOME": str(cluster.folder),
            "NO_COLOR": "1",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(LIMIT_SECS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Said(code=process.returncode, out=out, err=err.decode())
