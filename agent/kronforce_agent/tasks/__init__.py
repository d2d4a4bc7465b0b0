"""The task types that this agent can run: one file each, one line each in REGISTRY.

A process task turns an assignment into a launcher command; the launcher holds it, and it outlives
the agent. An in-agent task is a coroutine here and does not. Nothing is found by scanning.
"""

from __future__ import annotations

from kronforce_agent.tasks import http, noop, shell
from kronforce_agent.tasks.kinds import InAgentTask, ProcessTask

REGISTRY: dict[str, ProcessTask | InAgentTask] = {
    "shell": ProcessTask(build=shell.build),
    "noop": InAgentTask(run=noop.run, instant=noop.instant),
    "http": InAgentTask(run=http.run),
}
"""By arm of `Task`."""
