"""Indexes of what retention looks for every minute.

Deleted jobs, jobs that limit their history, instants without a run.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _index("jobs_deleted", "jobs", "deleted_at", "deleted_at IS NOT NULL")
    # The tag of `max_run_history` in an encoded definition.
    tag = "instr(spec, X'B804') > 0", "position('\\xb804'::bytea in spec) > 0"
    _index("jobs_history", "jobs", "key", *tag)
    _index("fires_skipped", "fires", "until", "run_key IS NULL")


def _index(name: str, table: str, column: str, where: str, postgresql: str = "") -> None:
    op.create_index(
        name,
        table,
        [column],
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(postgresql or where),
    )
