"""Alembic's entry: runs the steps on the connection that `state.migrate` hands over.

Law: no settings of its own, no second way to connect, executed by alembic only.
"""

from __future__ import annotations

from alembic import context

from recorderd.state.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
