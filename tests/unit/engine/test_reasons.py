"""Why what waits waits, for a page at once."""

from __future__ import annotations

from kronforce.clock import ManualClock
from kronforce.core.lifecycle import Reason
from kronforce.core.targets import AllAgents
from kronforce.engine.agents.directory import Directory
from kronforce.engine.dispatcher import Dispatcher, Need, Route
from kronforce.engine.live import LiveTable
from kronforce.engine.reasons import Reasons
from kronforce.store.agents import AgentRow
from kronforce.store.executions import ExecutionRow
from kronforce.store.tables import Phase


class Counted(Directory):
    """Counts how often it is asked who a target may mean."""

    asked = 0

    def named_by(self, target):
        self.asked += 1
        return super().named_by(target)


def away(**fields) -> AgentRow:
    """An agent that is enrolled and not connected."""
    row = dict.fromkeys(AgentRow.__dataclass_fields__, 0)
    row |= {"key": 1, "id": b"a" * 16, "name": "a", "built_in": False, "tags": (), "labels": {}}
    return AgentRow(**row | {"task_types": ("noop",), "allowed_groups": ()} | fields)


def waiting(key: int, route: int) -> ExecutionRow:
    row = dict.fromkeys(ExecutionRow._fields)
    return ExecutionRow(
        **row | {"key": key, "route": route, "phase": Phase.READY, "state_reason": ""}
    )


def test_a_page_of_what_waits_looks_for_agents_once_for_each_kind_of_work():
    directory = Counted()
    directory.put(away())
    dispatcher = Dispatcher(None, ManualClock())
    for number, task_type in ((1, "noop"), (2, "shell")):
        need = Need(target=AllAgents(), task_type=task_type, group="default", needs_trust=False)
        dispatcher.routes[number] = Route(number, need, 0)
    # Of what waits no session is asked.
    reasons = Reasons(dispatcher=dispatcher, directory=directory, table=LiveTable(), sessions=None)

    found = reasons.of_each([waiting(key, 1 + key % 2) for key in range(100)])

    assert found == [Reason.OFFLINE, Reason.LABELS] * 50
    assert directory.asked == 2
