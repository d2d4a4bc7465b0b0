"""Alembic's entry: runs one history over the connection that `migrate.py` hands over.

The transaction is the caller's, on both stores: a migration that fails leaves nothing behind.
"""

from __future__ import annotations

from alembic import context

_given = context.config.attributes

context.configure(connection=_given["connection"], version_table=_given["version_table"])
context.run_migrations()
