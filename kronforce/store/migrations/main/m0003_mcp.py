"""What AI clients need: keys that open one way in alone, and jobs found by their labels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kronforce.v1.job_pb2 import Job

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# As the store's `jobs` module writes it, at this revision.
_MARK = "\x1f"
_JOBS_AT_ONCE = 1_000

_jobs = sa.table(
    "jobs", sa.column("key", sa.BigInteger), sa.column("spec"), sa.column("labels", sa.Text)
)


def upgrade() -> None:
    op.add_column(
        "api_keys", sa.Column("surface", sa.SmallInteger(), nullable=False, server_default="0")
    )
    op.add_column("jobs", sa.Column("labels", sa.Text(), nullable=False, server_default=""))
    _fill_labels()


def _fill_labels() -> None:
    """From the definitions, some at a time: there may be hundreds of thousands."""
    conn = op.get_bind()
    last = 0
    while True:
        page = conn.execute(
            sa.select(_jobs.c.key, _jobs.c.spec)
            .where(_jobs.c.key > last)
            .order_by(_jobs.c.key)
            .limit(_JOBS_AT_ONCE)
        ).all()
        if not page:
            return
        last = page[-1].key
        for key, spec in page:
            labels = Job.FromString(spec).labels
            if labels:
                text = _MARK.join(f"{name}={labels[name]}" for name in sorted(labels))
                filled = {"labels": f"{_MARK}{text}{_MARK}"}
                conn.execute(sa.update(_jobs).where(_jobs.c.key == key).values(filled))
