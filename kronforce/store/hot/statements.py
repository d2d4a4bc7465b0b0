"""The batched statements of the hot path, compiled once for both stores."""

from __future__ import annotations

from kronforce.core.lifecycle import WORST_FIRST
from kronforce.store import tables as t
from kronforce.store.dialect import Lookup, delete, insert, update, upsert

# An outcome's rank: the higher, the worse. `runs.worst` keeps the highest of a run.
RANK = {int(state): len(WORST_FIRST) - place for place, state in enumerate(WORST_FIRST)}

_STATE_OF_RANK = " ".join(f"WHEN {rank} THEN {state}" for state, rank in RANK.items())

INSERT_REQUEST = insert(
    t.requests, "principal_key", "request_id", "hash", "resource_id", "created_at",
    unless_exists=True,
)  # fmt: skip
INSERT_FIRE = insert(
    t.fires, "job_key", "nominal_at", "until", "count", "reason", "run_key", "run_id", "caught_up",
    "fired_at", unless_exists=True,
)  # fmt: skip
ADVANCE_JOB = update(
    t.jobs,
    ("key", "expected=next_fire_at", "next_fire_at", "next_nominal_at", "status"),
    set_="next_fire_at = :next_fire_at, next_nominal_at = :next_nominal_at, status = :status",
    where="t.key = :key AND t.next_fire_at = :expected",
)
SET_SLOT = upsert(
    t.slots, ("job_key", "slot_key"), "job_key", "slot_key", "active", "waiting",
    "scheduled_waiting",
)  # fmt: skip
DELETE_SLOT = delete(
    t.slots, ("job_key", "slot_key"), where="t.job_key = :job_key AND t.slot_key = :slot_key"
)
INSERT_RUN = insert(
    t.runs, "key", "id", "job_key", "job_id", "job_name", "group_name", "job_version", "state",
    "state_reason", "trigger", "principal_key", "principal", "client_id", "params", "nominal_at",
    "priority", "created_at", "finished_at", "revision", "target_count", "open_targets", "worst",
    "admission", "slot_key", "cancelled_by", "step_id", "cause_event", "depth",
)  # fmt: skip
# Apart from the insert, so that other runs do not carry it.
SET_RERUN = update(t.runs, ("key", "rerun_of"), set_="rerun_of = :rerun_of", where="t.key = :key")
INSERT_TARGET = insert(
    t.run_targets, "run_key", "target_index", "agent_key", "state", "skip_reason", "attempts"
)
INSERT_EXECUTION = insert(
    t.executions, "key", "id", "run_key", "job_key", "target_index", "step_id", "item_index",
    "attempt_number", "retry_of", "state", "state_reason", "message", "phase", "priority", "route",
    "agent_key", "fence", "losses", "created_at", "due_at", "queue_deadline_at", "assigned_at",
    "finished_at", "cancelled_by", "signal", "stdout_bytes", "stderr_bytes",
)  # fmt: skip
INSERT_EVENT = insert(
    t.events, "kind", "severity", "at", "message", "actor", "job_id", "job_name", "group_name",
    "run_id", "execution_id", "agent_id",
)  # fmt: skip
INSERT_INLINE = insert(t.inline_output, "execution_key", "data")

ASSIGN = update(
    t.executions,
    ("key", "agent_key", "fence", "assigned_at"),
    set_="phase = 4, agent_key = :agent_key, fence = :fence, assigned_at = :assigned_at",
    where="t.key = :key AND t.phase IN (1, 3)",
)
# An assignment that certainly did not start goes back to the queue; its fence stays used.
UNASSIGN = update(
    t.executions,
    ("key", "fence"),
    set_="phase = 1, agent_key = NULL, assigned_at = NULL",
    where="t.key = :key AND t.fence = :fence AND t.phase = 4",
)
START = update(
    t.executions,
    ("key", "fence", "started_at"),
    set_="state = 3, phase = 5, started_at = :started_at",
    where="t.key = :key AND t.fence = :fence AND t.phase = 4",
)
FINISH = update(
    t.executions,
    ("key", "fence", "state", "state_reason", "message", "started_at", "finished_at", "exit_code",
     "signal", "stdout_bytes", "stderr_bytes", "outputs", "dispatch"),
    set_="phase = 0, state = :state, state_reason = :state_reason, message = :message, "
    "started_at = coalesce(t.started_at, :started_at), finished_at = :finished_at, "
    "exit_code = :exit_code, signal = :signal, stdout_bytes = :stdout_bytes, "
    "stderr_bytes = :stderr_bytes, outputs = :outputs, dispatch = :dispatch",
    where="t.key = :key AND t.fence = :fence AND t.phase > 0",
)  # fmt: skip
END_TARGET = update(
    t.run_targets,
    ("run_key", "target_index", "agent_key", "state", "attempts"),
    set_="agent_key = coalesce(:agent_key, t.agent_key), state = :state, attempts = :attempts",
    where="t.run_key = :run_key AND t.target_index = :target_index",
)
# What all changes of a batch make of one run: targets closed, the worst outcome, the first start.
CHANGE_RUN = update(
    t.runs,
    ("key", "closed=open_targets", "worst", "state_reason", "started_at", "finished_at", "outputs",
     "steps=revision"),
    set_="revision = t.revision + :steps, outputs = coalesce(:outputs, t.outputs), "
    "started_at = coalesce(t.started_at, :started_at), "
    "open_targets = t.open_targets - :closed, "
    "worst = CASE WHEN :worst > t.worst THEN :worst ELSE t.worst END, "
    "state_reason = CASE WHEN :worst > t.worst THEN :state_reason ELSE t.state_reason END, "
    "finished_at = CASE WHEN t.open_targets = :closed THEN :finished_at END, "
    "state = CASE WHEN t.open_targets = :closed THEN "
    f"CASE (CASE WHEN :worst > t.worst THEN :worst ELSE t.worst END) {_STATE_OF_RANK} END "
    "WHEN coalesce(t.started_at, :started_at) IS NULL THEN t.state ELSE 3 END",
    where="t.key = :key AND t.finished_at IS NULL",
)  # fmt: skip
# Where what was told last did not end last: the run's end is its latest execution's.
SET_RUN_END = update(
    t.runs,
    ("key",),
    set_="finished_at = (SELECT max(e.finished_at) FROM executions e WHERE e.run_key = t.key)",
    where="t.key = :key AND t.finished_at IS NOT NULL",
)
# The overall deadline, for runs of jobs that have one: counted from the first start, set once.
SET_DEADLINE = update(
    t.runs,
    ("key", "timeout=deadline_at"),
    set_="deadline_at = t.started_at + :timeout",
    where="t.key = :key AND t.deadline_at IS NULL AND t.started_at IS NOT NULL",
)
RELEASE_RUN = update(
    t.runs, ("key",), set_="admission = 3", where="t.key = :key AND t.admission IN (1, 2)"
)
ADMIT_RUN = update(t.runs, ("key",), set_="admission = 1, state_reason = ''", where="t.key = :key")
ADMIT_EXECUTIONS = update(
    t.executions, ("run_key",), set_="phase = 1", where="t.run_key = :run_key AND t.phase = 2"
)

ADD_STATS = insert(
    t.stats_added, "at", "job_key", "agent_key", "group_name", "state", "size", "executions",
    "runs", "started", "busy_us", "longest_us", "waits", "wait_us",
)  # fmt: skip

JOB_REVISIONS = Lookup(t.jobs, "key", "revision", key="key", where="deleted_at IS NULL")
SESSION_EPOCHS = Lookup(t.agents, "key", "session_epoch", key="key")
ENDED = Lookup(t.executions, "key", key="key", where="phase = 0")
RUN_ADMISSIONS = Lookup(t.runs, "key", "admission", key="key")
EXECUTION_FENCES = Lookup(t.executions, "key", "fence", key="key")
EXECUTION_STARTS = Lookup(t.executions, "key", "started_at", key="key")
RUN_STATES = Lookup(t.runs, "key", "state", "finished_at", key="key")
