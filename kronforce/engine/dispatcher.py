"""The ready queue and every agent's slots, in memory; the database is the truth behind it.

Work waits by route, a hash of what it needs. As a batch is cut, the heads of
the queue go first, by priority and age, then new triggers take what is free,
where nothing waits on their route. A reservation that the transaction did not
admit is returned after the commit. Each route keeps a bounded head here; the
rest is read again when the head runs low.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from kronforce.clock import Clock
from kronforce.core.lifecycle import Reason
from kronforce.core.targets import Target, can_serve
from kronforce.engine.agents.affinity import Affinity
from kronforce.engine.agents.session import Session
from kronforce.engine.live import LiveExecution
from kronforce.engine.snapshots import JobSnapshot
from kronforce.store.hot.commands import Assign, CreateRun, NewTarget
from kronforce.store.store import Store
from kronforce.store.tables import Phase

log = logging.getLogger(__name__)

# Executions kept in memory per route; beyond it they wait in the store alone.
HEAD = 4096
# After an assignment that the store did not take: how long until heads are given away again.
RETRY_SECS = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a route stands for."""

    target: Target
    task_type: str
    group: str
    needs_trust: bool
    # Others whose work waits here too: a route keeps its number when its group is renamed, and
    # may then meet a new group of the old name. Who serves it must be allowed all of them.
    more_groups: frozenset[str] = frozenset()

    def serves(self, group: str) -> bool:
        """Whether work of this group was thought of."""
        return group == self.group or group in self.more_groups

    def met_by(self, session: Session) -> bool:
        """Whether this agent may ever run such work."""
        if self.needs_trust and session.view.local:
            return False
        allowed = session.view.allowed_groups
        if allowed and not allowed.issuperset(self.more_groups):
            return False
        return can_serve(self.target, self.task_type, self.group, session.view)


class Route:
    """Everything that waits for the same kind of agent."""

    __slots__ = (
        "heap", "left", "more", "need", "number", "refilling", "sessions", "unserved_since",
    )  # fmt: skip

    def __init__(self, number: int, need: Need, now: int) -> None:
        self.number = number
        self.need = need
        self.heap: list[tuple[int, int, LiveExecution]] = []
        # Whether the store holds ready rows of this route that are not in the heap.
        self.more = False
        # The highest priority that was left to the store since its rows were read.
        self.left: int | None = None
        self.refilling = False
        self.sessions: list[Session] = []
        # Since when no connected agent could serve it; None while one can.
        self.unserved_since: int | None = now

    def head(self) -> LiveExecution | None:
        """The next execution that is still ready, or None."""
        while self.heap:
            live = self.heap[0][2]
            if is_ready(live):
                return live
            heapq.heappop(self.heap)[2].queued = False
        return None

    def is_overtaken(self) -> bool:
        """Whether something in the store goes before the head that is at hand."""
        return self.left is not None and bool(self.heap) and -self.heap[0][0] < self.left

    def tidy(self) -> None:
        """Drop what does not wait any more; `head` only does it from the front."""
        gone = [entry for entry in self.heap if not is_ready(entry[2])]
        if gone:
            for _, _, live in gone:
                live.queued = False
            self.heap = [entry for entry in self.heap if is_ready(entry[2])]
            heapq.heapify(self.heap)


_WAITING = (Phase.READY, Phase.RETRY_WAIT)


def is_ready(live: LiveExecution) -> bool:
    """Whether it may be given to an agent: it waits, and nobody is ending it."""
    return not live.ended and not live.finishing and live.session is None and live.phase in _WAITING


class Dispatcher:
    """Owns routes and slots. `before_cut` is the committer's hook."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.routes: dict[int, Route] = {}
        self.sessions: dict[int, Session] = {}
        self._creates: list[CreateRun] = []
        self._uses = 0
        self._affinity = Affinity()
        # Heads are given to nobody before this, on the monotonic clock: the store was away.
        self._resume_at = 0.0
        # Called with a route whose head runs low while the store holds more.
        self.refill: Callable[[Route], None] = _nothing
        # Called with an execution that is left to the store: memory forgets it.
        self.forget: Callable[[LiveExecution], None] = _ignore
        # Called with one that somebody has cancelled, in place of giving it to an agent.
        self.cancelled: Callable[[LiveExecution], None] = _ignore
        # Called with one of a job that is deleted, in place of that too.
        self.unwanted: Callable[[LiveExecution], None] = _ignore
        # Called with the assignment and its session after the commit.
        self.assigned: Callable[[LiveExecution, Session], None] = _drop

    # Routes and sessions.

    def route_for(
        self, snapshot: JobSnapshot, target: Target, number: int | None = None, group: str = ""
    ) -> int:
        """The route of a target (or its stored number and its run's group); its need is kept."""
        number = snapshot.route(target) if number is None else number
        group = group or snapshot.group
        route = self.routes.get(number)
        if route is None:
            need = Need(
                target=target, task_type=snapshot.task_type, group=group,
                needs_trust=snapshot.needs_trust,
            )  # fmt: skip
            route = self.routes[number] = Route(number, need, self._clock.now_us())
            self._match(route)
        elif group != route.need.group and group not in route.need.more_groups:
            route.need = replace(route.need, more_groups=route.need.more_groups | {group})
            self._match(route)
        return number

    def _match(self, route: Route) -> None:
        """Find who serves it."""
        route.sessions = [s for s in self.sessions.values() if route.need.met_by(s)]
        if route.sessions:
            route.unserved_since = None
        elif route.unserved_since is None:
            route.unserved_since = self._clock.now_us()

    def rename_group(self, old_name: str, new_name: str) -> None:
        """What waits for the group is the renamed group's."""
        for route in self.routes.values():
            if route.need.serves(old_name):
                names = {new_name if n == old_name else n for n in route.need.more_groups}
                group = new_name if route.need.group == old_name else route.need.group
                route.need = replace(route.need, group=group, more_groups=frozenset(names))
                self._match(route)
        self._store.main.wake()

    def add_session(self, session: Session) -> None:
        """An agent has come: it can be given work from now on."""
        self.sessions[session.agent_key] = session
        for route in self.routes.values():
            if route.need.met_by(session):
                route.sessions.append(session)
                route.unserved_since = None
        self._store.main.wake()

    def remove_session(self, session: Session) -> None:
        """An agent has gone."""
        if self.sessions.get(session.agent_key) is not session:
            return
        del self.sessions[session.agent_key]
        for route in self.routes.values():
            if session in route.sessions:
                route.sessions.remove(session)
                if not route.sessions:
                    route.unserved_since = self._clock.now_us()

    def rematch(self, session: Session) -> None:
        """What a connected agent may run has changed: it serves other routes from now on."""
        if self.sessions.get(session.agent_key) is session:
            self.remove_session(session)
            self.add_session(session)

    # The queue.

    def offer(self, live: LiveExecution) -> None:
        """A ready execution waits for an agent."""
        route = self.routes[live.route]
        if len(route.heap) >= HEAD and not self._goes_before_the_last(route, live):
            self._leave_to_store(route, live)
            return
        self.requeue(live)
        self._store.main.wake()

    def requeue(self, live: LiveExecution) -> None:
        """The same for one that was read from the store, unless it is in the queue already."""
        if live.cancel_reason:
            if is_ready(live):
                self.cancelled(live)
        elif live.run.job.deleted and live.run.started_at is None:
            self.unwanted(live)
        elif not live.queued:
            heapq.heappush(self.routes[live.route].heap, (-live.run.priority, live.key, live))
            live.queued = True

    def _leave_to_store(self, route: Route, live: LiveExecution) -> None:
        """Memory forgets it; it is read again with the next of its route."""
        route.more = True
        priority = live.run.priority
        route.left = priority if route.left is None else max(route.left, priority)
        self.forget(live)

    def trim(self, route: Route) -> None:
        """Keep a bounded head: the first of the queue, the rest is left to the store again."""
        if len(route.heap) > 2 * HEAD:
            route.heap.sort()
            rest, route.heap = route.heap[HEAD:], route.heap[:HEAD]
            for _, _, live in rest:
                live.queued = False
                if is_ready(live):
                    self._leave_to_store(route, live)

    def _goes_before_the_last(self, route: Route, live: LiveExecution) -> bool:
        """Whether it must not be left to the store, where it would be read too late."""
        return live.run.priority > -route.heap[0][0]

    def reserve_for(self, run: CreateRun) -> None:
        """Have slots reserved for a new run as its batch is cut."""
        self._creates.append(run)

    def before_cut(self) -> None:
        """Give free slots to the heads of the queue, then to new runs."""
        self._assign_heads()
        creates, self._creates = self._creates, []
        for run in creates:
            for target in run.targets:
                if not target.skip_reason:
                    target.session = self._reserve_new(target, run.job)

    def _reserve_new(self, target: NewTarget, job: JobSnapshot) -> Session | None:
        route = self.routes[target.route]
        if route.more or route.head() is not None:
            return None
        return self._take(route, job)

    def look_again(self) -> None:
        """Have waiting heads looked at, should nothing else cause it."""
        if any(route.heap or route.more for route in self.routes.values()):
            self._store.main.wake()

    def _assign_heads(self) -> None:
        if self._clock.monotonic() < self._resume_at:
            return
        served = [route for route in self.routes.values() if route.heap and route.sessions]
        while served:
            best = min(
                (route for route in served if route.head() is not None),
                key=lambda route: route.heap[0][:2],
                default=None,
            )
            if best is None:
                break
            session = self._take(best, best.heap[0][2].run.job)
            if session is None:
                served.remove(best)
                continue
            live = heapq.heappop(best.heap)[2]
            live.queued = False
            self._assign(live, session)
        for route in self.routes.values():
            low = len(route.heap) < HEAD // 2 or route.is_overtaken()
            if route.more and not route.refilling and low:
                self.refill(route)

    def _assign(self, live: LiveExecution, session: Session) -> None:
        live.session = session
        self._store.main.stage_first(
            Assign(live, live.key, session.agent_key, session.epoch, self._clock.now_us(),
                   self._committed)
        )  # fmt: skip

    def _take(self, route: Route, job: JobSnapshot) -> Session | None:
        """Reserve a slot: most free slots, then least recently used, or as the job prefers."""
        free = [s for s in route.sessions if s.free > 0 and s.takes_work]
        if not free:
            return None
        if job.is_choosy:
            best = self._affinity.choose(job, free)
            self._affinity.note(job, best)
        else:
            best = free[0] if len(free) == 1 else max(free)
        self._uses += 1
        best.reserve(self._uses)
        return best

    def _committed(self, assign: Assign, error: Exception | None) -> None:
        live = assign.live
        session: Session = live.session
        if error is None and assign.done:
            live.phase, live.fence = Phase.ASSIGNED, assign.fence
            self.assigned(live, session)
            return
        session.release()
        live.session = None
        if error is not None:
            log.warning("an assignment was not stored: %s", error,
                        extra={"action": "assign_failed", "execution": live.id_text})  # fmt: skip
            self._resume_at = self._clock.monotonic() + RETRY_SECS
            if not live.ended:
                self.offer(live)
        elif not live.ended and not live.finishing:
            # Its session was taken over, or memory is behind: what the store says counts.
            self._leave_to_store(self.routes[live.route], live)

    def waiting_reason(self, live: LiveExecution | None, number: int) -> Reason:
        """Why a ready execution waits: `slot`, `queue`, or `offline` where nobody takes any."""
        route = self.routes.get(number)
        if route is None:
            return Reason.QUEUE
        if all(session.drains for session in route.sessions):
            return Reason.OFFLINE
        busy = all(s.free <= 0 or not s.takes_work for s in route.sessions)
        return Reason.SLOT if busy and live is not None and route.head() is live else Reason.QUEUE


def _nothing(_route: Route) -> None:
    return None


def _ignore(_live: LiveExecution) -> None:
    return None


def _drop(_live: LiveExecution, _session: Session) -> None:
    return None
