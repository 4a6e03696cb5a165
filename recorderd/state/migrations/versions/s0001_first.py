"""The first tables: who we are, which volumes and devices we know, events and jobs.

Law: frozen with its release; a later shape is a later step.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "servers",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("created_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "storages",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("volume", sa.String(36), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("first_seen_us", sa.BigInteger, nullable=False),
    )
    _devices()
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("camera", sa.String(36)),
        sa.Column("hardware", sa.String(36)),
        sa.Column("params", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_time_us", "events", ["time_us"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("params", sa.JSON, nullable=False),
        sa.Column("result", sa.JSON),
        sa.Column("error", sa.JSON),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("started_us", sa.BigInteger),
        sa.Column("finished_us", sa.BigInteger),
    )
    op.create_index("ix_jobs_created_us", "jobs", ["created_us"])


def _devices() -> None:
    op.create_table(
        "hardware",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("driver", sa.String(64), nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("driver", "address", name="one_hardware_per_address"),
    )
    op.create_table(
        "cameras",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("hardware_id", sa.String(36), nullable=False),
        sa.Column("channel", sa.Integer, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("hardware_id", "channel", name="one_camera_per_channel"),
    )
