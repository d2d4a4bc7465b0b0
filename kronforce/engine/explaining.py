"""ExplainRun: gathers what memory and the store know of a run, has `core` put it into words.

From memory comes what is derived (queues, slots, sessions), from the store what
is kept; each question is bounded. Nothing that the caller may not see is named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kronforce.clock import Clock
from kronforce.core.access import Scope, may_see
from kronforce.core.explain import next_steps, run_sentence, sentence
from kronforce.core.explain_facts import Facts
from kronforce.core.ids import from_text, to_text
from kronforce.core.lifecycle import TERMINAL, Reason, State
from kronforce.core.targets import OneAgent, Target
from kronforce.engine.agents.directory import Directory
from kronforce.engine.agents.sessions import Sessions
from kronforce.engine.agents.verdicts import verdicts
from kronforce.engine.dispatcher import Dispatcher, Need
from kronforce.engine.live import LiveTable
from kronforce.engine.reasons import Reasons
from kronforce.engine.snapshots import JobSnapshot, JobSnapshots
from kronforce.errors import RunNotFound
from kronforce.store import explaining as stored
from kronforce.store.database import Tx
from kronforce.store.executions import ExecutionRow
from kronforce.store.runs import RunRow, target_counts
from kronforce.store.store import Store
from kronforce.store.tables import Admission, Phase

SECOND = 1_000_000
# Routes that share an agent with what waits, when its place in the queue is counted.
ROUTES = 200

_FOR_AN_AGENT = frozenset({Reason.QUEUE, Reason.SLOT, Reason.LABELS, Reason.OFFLINE})


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedExecution:
    """One execution: its row, what is known of it, and the sentence."""

    row: ExecutionRow
    facts: Facts
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """A run, explained."""

    row: RunRow
    reason: str
    sentence: str
    next_steps: list[str]
    executions: list[ExplainedExecution]


class Explaining:
    """Explains runs."""

    def __init__(
        self, *, store: Store, clock: Clock, table: LiveTable, directory: Directory,
        dispatcher: Dispatcher, snapshots: JobSnapshots, sessions: Sessions, reasons: Reasons,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._table = table
        self._directory = directory
        self._dispatcher = dispatcher
        self._snapshots = snapshots
        self._sessions = sessions
        self._reasons = reasons

    async def explain(self, scope: Scope, run_id: str) -> Explained:
        """Why the run stands where it stands. Raises RunNotFound."""
        raw = from_text(run_id)
        found = None if raw is None else await self._store.read(_run, scope, raw)
        if found is None:
            raise RunNotFound(f"no run {run_id!r}; see `kronforce run list`", run=run_id)
        run, rows, before, counts = found
        pair = (run.job_key, run.job_version)
        job = (await self._snapshots.of_versions([pair]))[pair]
        shared = await self._of_all(scope, run)
        told = [
            ExplainedExecution(row=row, facts=facts, sentence=sentence(facts))
            for row in rows
            for facts in [await self._facts(scope, run, job, row, before.get(row.key), shared)]
        ]
        return self._explained(run, counts, told)

    def _explained(
        self, run: RunRow, counts: dict[int, int], told: list[ExplainedExecution]
    ) -> Explained:
        state, facts = State(run.state), [each.facts for each in told]
        if run.target_count == 1 and told:
            text = told[0].sentence
        else:
            by_state = {State(number): count for number, count in counts.items()}
            text = run_sentence(state, by_state, facts, self._took(run))
        reason = run.state_reason
        if state not in TERMINAL and told:
            reason = told[0].facts.reason
        return Explained(
            row=run,
            reason=reason,
            sentence=text,
            next_steps=next_steps(
                state, facts, to_text(run.id), run.job_name, targets=run.target_count
            ),
            executions=told if run.target_count > 1 or run.state != State.SUCCEEDED else [],
        )

    def _took(self, run: RunRow) -> int | None:
        if run.started_at is None:
            return None
        return (run.finished_at or self._clock.now_us()) - run.started_at

    async def _of_all(self, scope: Scope, run: RunRow) -> _Shared:
        """What the executions of one run have in common: who holds its limit, who replaced it."""
        if run.finished_at is None and run.admission == Admission.WAITING:
            known = [
                live.key for live in self._table.runs.values()
                if live.job.key == run.job_key and live.admission == Admission.ACTIVE
            ][: stored.SEARCHED]  # fmt: skip
            ids = await self._store.read(
                stored.runs_holding, scope, run.job_key, run.slot_key, known
            )
            return _Shared(held_by=tuple(to_text(raw) for raw in ids))
        if run.state_reason == Reason.REPLACED:
            newer = await self._store.read(stored.next_run, scope, run)
            return _Shared(replaced_by="" if newer is None else to_text(newer))
        return _Shared()

    async def _facts(
        self, scope: Scope, run: RunRow, job: JobSnapshot, row: ExecutionRow,
        before: ExecutionRow | None, shared: _Shared,
    ) -> Facts:  # fmt: skip
        reason = self._reasons.of(row)
        route = self._dispatcher.routes.get(row.route)
        target = route.need.target if route is not None else job.target
        live = self._table.by_key.get(row.key)
        facts = Facts(
            now=self._clock.now_us(), run_id=to_text(run.id), job_name=run.job_name,
            settings=job.settings, target=target, target_name=self._name_of(scope, job, target),
            state=State(row.state), reason=reason, message=row.message,
            attempt=row.attempt_number, allowed=job.settings.retry.retry_max + 1 + row.losses,
            agent=row.agent_name, created_at=row.created_at, since=_since(row),
            until=self._until(run, job, row, reason), started_at=row.started_at,
            finished_at=row.finished_at, exit_code=row.exit_code, signal=row.signal,
            by=row.cancelled_by or run.cancelled_by,
            why=row.cancel_message or run.cancel_message or "",
            asked=row.cancel_reason or run.cancel_reason or "",
            overdue=live is not None and live.run.overdue,
            before="" if before is None else _told_before(before),
            held_by=shared.held_by, slot_key=run.slot_key, replaced_by=shared.replaced_by,
            away_since=self._away_since(row),
        )  # fmt: skip
        if row.phase == Phase.READY and reason in _FOR_AN_AGENT and route is not None:
            return await self._with_agents(scope, facts, route.need, row)
        return facts

    async def _with_agents(
        self, scope: Scope, facts: Facts, need: Need, row: ExecutionRow
    ) -> Facts:
        agents, hidden = verdicts(
            scope, need, self._directory, self._dispatcher, self._clock.monotonic()
        )
        ahead = await self._store.read(
            stored.count_ahead, self._rivals(row.route), row.priority, row.key
        )
        return replace(facts, agents=tuple(agents), hidden_agents=hidden, ahead=ahead)

    def _rivals(self, route: int) -> list[int]:
        """The routes that wait for the same agents, its own first."""
        own = self._dispatcher.routes[route]
        others = (
            other.number for other in self._dispatcher.routes.values()
            if other is not own and any(session in own.sessions for session in other.sessions)
        )  # fmt: skip
        return [route, *others][:ROUTES]

    def _name_of(self, scope: Scope, job: JobSnapshot, target: Target | None) -> str:
        """The agent's name, or where the caller may not see that agent what the job says."""
        if isinstance(target, OneAgent):
            row = self._directory.find(to_text(target.agent_id))
            if row is not None and may_see(scope, row.allowed_groups):
                return row.name
            return job.agent_ref
        return job.agent_ref if target is None else ""

    def _away_since(self, row: ExecutionRow) -> int | None:
        if row.phase != Phase.RUNNING or row.agent_key is None:
            return None
        secs = self._sessions.away_secs(row.agent_key)
        return None if secs is None else self._clock.now_us() - int(secs * SECOND)

    def _until(self, run: RunRow, job: JobSnapshot, row: ExecutionRow, reason: str) -> int | None:
        """When it goes on or gives up by itself."""
        settings = job.settings
        if row.phase == Phase.RETRY_WAIT:
            return row.due_at
        if reason == Reason.AGENT_UNREACHABLE:
            since = self._away_since(row)
            live = self._table.by_key.get(row.key)
            if since is None or live is None or row.agent_key is None:
                return None
            return since + int(self._sessions.patience(row.agent_key, live) * SECOND)
        if row.phase == Phase.RUNNING:
            limit = settings.timeout_secs * SECOND
            ends = None if not limit else (row.started_at or self._clock.now_us()) + limit
            return min((at for at in (ends, run.deadline_at) if at is not None), default=None)
        waits = [row.queue_deadline_at, run.deadline_at]
        if reason in (Reason.OFFLINE, Reason.LABELS):
            waits.append(self._offline_until(row, settings.offline_timeout_secs))
        return min((at for at in waits if at is not None), default=None)

    def _offline_until(self, row: ExecutionRow, limit_secs: int) -> int | None:
        route = self._dispatcher.routes.get(row.route)
        if not limit_secs or route is None or route.unserved_since is None:
            return None
        return max(route.unserved_since, row.created_at) + limit_secs * SECOND


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shared:
    held_by: tuple[str, ...] = ()
    replaced_by: str = ""


def _run(
    tx: Tx, scope: Scope, run_id: bytes
) -> tuple[RunRow, list[ExecutionRow], dict[int, ExecutionRow], dict[int, int]] | None:
    found = stored.run_and_attempts(tx, scope, run_id)
    if found is None:
        return None
    return *found, target_counts(tx, found[:1]).get(found[0].key, {})


def _since(row: ExecutionRow) -> int:
    """Since when it stands where it stands, as far as instants are kept."""
    if row.finished_at is not None:
        return row.finished_at
    if row.phase == Phase.ASSIGNED:
        return row.assigned_at or row.created_at
    return row.started_at or row.created_at


def _told_before(row: ExecutionRow) -> str:
    word = State(row.state).word.replace("_", " ")
    said = row.message or row.state_reason.replace("_", " ")
    return f"{word}: {said}" if said else word
