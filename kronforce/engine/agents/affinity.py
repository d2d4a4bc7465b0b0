"""Which agents a job has used: for jobs that ask to stay where they were, or to move around.

Only jobs with `sticky` or `spread` are remembered, the ones used longest ago
are forgotten first, and a restart forgets all: both are preferences, and a
preferred agent without a free slot is passed over.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from kronforce.engine.agents.session import Session
from kronforce.engine.snapshots import JobSnapshot

# Jobs remembered, and agents for each.
JOBS = 20_000
AGENTS = 64


class Affinity:
    """Remembers uses; `choose` among sessions that have a free slot."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[int, OrderedDict[int, None]] = OrderedDict()

    def choose(self, job: JobSnapshot, free: Sequence[Session]) -> Session:
        """The preferred of these; most free slots, then least recently used, among equals."""
        used = list(self._jobs.get(job.key, ()))
        best = max(free)
        if job.settings.sticky and used:
            return next((s for s in free if s.agent_key == used[-1]), best)
        if job.settings.spread:
            place = {agent_key: number for number, agent_key in enumerate(used)}
            oldest = min(place.get(session.agent_key, -1) for session in free)
            return max(s for s in free if place.get(s.agent_key, -1) == oldest)
        return best

    def note(self, job: JobSnapshot, session: Session) -> None:
        """The job goes to this agent now."""
        used = self._jobs.setdefault(job.key, OrderedDict())
        used[session.agent_key] = None
        used.move_to_end(session.agent_key)
        self._jobs.move_to_end(job.key)
        if len(used) > AGENTS:
            used.popitem(last=False)
        if len(self._jobs) > JOBS:
            self._jobs.popitem(last=False)
