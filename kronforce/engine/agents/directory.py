"""Every enrolled agent, connected or not, in memory: who a target can mean.

Loaded at start and kept by whoever enrols, changes or removes an agent. Small:
one entry per agent.
"""

from __future__ import annotations

from collections.abc import Collection

from kronforce.core.access import may_use
from kronforce.core.custom_tasks import is_custom
from kronforce.core.ids import from_text
from kronforce.core.targets import AgentView, AllAgents, OneAgent, Target, runs_type
from kronforce.store.agents import AgentRow
from kronforce.v1.agent_pb2 import AGENT_TYPE_CUSTOM


def view_of(row: AgentRow) -> AgentView:
    """What choosing needs to know of an agent."""
    return AgentView(
        agent_id=row.id,
        name=row.name,
        local=row.built_in,
        tags=frozenset(row.tags),
        labels=dict(row.labels),
        task_types=frozenset(row.task_types),
        allowed_groups=frozenset(row.allowed_groups),
        pulls=pulls(row),
    )


def pulls(row: AgentRow) -> bool:
    """Whether it asks for work, and does custom tasks alone."""
    return row.agent_type == AGENT_TYPE_CUSTOM


class Directory:
    """Agents by key, id and name."""

    def __init__(self) -> None:
        self.rows: dict[int, AgentRow] = {}
        self._by_id: dict[bytes, int] = {}
        self._by_name: dict[str, int] = {}
        # Agents that are kept for some groups; most installations have none.
        self._limited: set[int] = set()
        # Custom agents.
        self._pulling: set[int] = set()

    def put(self, row: AgentRow) -> None:
        """Add an agent, or what has changed of it."""
        self.remove(row.key)
        self.rows[row.key] = row
        self._by_id[row.id] = row.key
        self._by_name[row.name] = row.key
        if row.allowed_groups:
            self._limited.add(row.key)
        if pulls(row):
            self._pulling.add(row.key)

    def remove(self, key: int) -> None:
        """Forget an agent that was removed."""
        row = self.rows.pop(key, None)
        if row is not None:
            self._by_id.pop(row.id, None)
            self._by_name.pop(row.name, None)
            self._limited.discard(key)
            self._pulling.discard(key)

    def find(self, ref: str) -> AgentRow | None:
        """The agent of this id or exact name."""
        raw = from_text(ref)
        key = self._by_name.get(ref) if raw is None else self._by_id.get(raw)
        return None if key is None else self.rows[key]

    def named_by(self, target: Target) -> Collection[AgentRow]:
        """The agents that a target may mean: one, or all that there are."""
        if not isinstance(target, OneAgent):
            return self.rows.values()
        key = self._by_id.get(target.agent_id)
        return () if key is None else (self.rows[key],)

    @property
    def has_limited(self) -> bool:
        """Whether any agent is kept for some groups."""
        return bool(self._limited)

    def keys_for(self, group: str, task_type: str) -> list[int]:
        """The keys of all agents that may run jobs of the group, in order.

        Custom agents run custom tasks alone, and those only where such a type is defined.
        """
        rows = self.rows
        keys: Collection[int] = rows
        if is_custom(task_type):
            keys = [key for key in rows if runs_type(AllAgents(), task_type, view_of(rows[key]))]
        elif self._pulling:
            keys = rows.keys() - self._pulling
        if not self._limited:
            return sorted(keys)
        return sorted(key for key in keys if may_use(rows[key].allowed_groups, group))

    def id_of(self, key: int) -> bytes | None:
        """The id of the agent with this key, unless it was removed."""
        row = self.rows.get(key)
        return None if row is None else row.id
