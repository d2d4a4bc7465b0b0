"""What the agent says of its host: facts, never grants."""

from __future__ import annotations

import os
import platform
import socket
from importlib import metadata

from kronforce.v1 import agent_pb2


def gather() -> agent_pb2.AgentFacts:
    """Facts of this host and process, now."""
    return agent_pb2.AgentFacts(
        hostname=socket.gethostname(),
        os=platform.system().lower(),
        arch=platform.machine(),
        cpus=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        version=version(),
        pid=os.getpid(),
    )


def version() -> str:
    """The installed version; `0` where it runs from a bare checkout."""
    try:
        return metadata.version("kronforce")
    except metadata.PackageNotFoundError:
        return "0"
