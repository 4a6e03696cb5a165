"""Jobs tell more of their progress, and are made once per key of the caller.

Law: frozen with its release; a later shape is a later step.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("detail", sa.JSON))
    op.add_column("jobs", sa.Column("key", sa.String(200)))
    op.create_index("ix_jobs_kind_key", "jobs", ["kind", "key"], unique=True)
