"""What a storage held last, so that an older copy of the same epoch is known as one.

Law: frozen with its release; a later shape is a later step.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("storages", sa.Column("segment", sa.Text))
    op.add_column("storages", sa.Column("segment_bytes", sa.BigInteger))
    op.add_column("storages", sa.Column("ledger_pages", sa.BigInteger))
