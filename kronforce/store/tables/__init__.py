"""The schema, once, for both stores: a module per aggregate.

Integer keys inside, 16-byte ids (UUIDv7) for the world; instants are BIGINT
microseconds UTC; enums are the contract's numbers; a job's definition is its
proto message as bytes beside the columns that SQL filters on, so a new task
type needs no migration. Columns that later features need (step, item,
pipeline, parent, cause, depth, version, principal) are here from the first
migration. Migrations are the truth of a database; a test keeps them equal to
these modules.
"""

from kronforce.store.tables.access_tables import api_keys, group_renames, groups
from kronforce.store.tables.agent_tables import agents, join_tokens
from kronforce.store.tables.base import Admission, Phase, counters, metadata, output_metadata
from kronforce.store.tables.job_tables import fires, job_versions, jobs, slots
from kronforce.store.tables.log_tables import audit, audit_book, audit_chains, events
from kronforce.store.tables.output_tables import output_chunks, output_progress
from kronforce.store.tables.run_tables import (
    evidence,
    executions,
    inline_output,
    requests,
    run_targets,
    runs,
)
from kronforce.store.tables.stat_tables import Level, Subject, past_jobs, stats, stats_added
from kronforce.store.tables.value_tables import job_variables, secret_keys, variables
from kronforce.store.tables.webhook_tables import webhooks

__all__ = [
    "Admission",
    "Level",
    "Phase",
    "Subject",
    "agents",
    "api_keys",
    "audit",
    "audit_book",
    "audit_chains",
    "counters",
    "events",
    "evidence",
    "executions",
    "fires",
    "group_renames",
    "groups",
    "inline_output",
    "job_variables",
    "job_versions",
    "jobs",
    "join_tokens",
    "metadata",
    "output_chunks",
    "output_metadata",
    "output_progress",
    "past_jobs",
    "requests",
    "run_targets",
    "runs",
    "secret_keys",
    "slots",
    "stats",
    "stats_added",
    "variables",
    "webhooks",
]
