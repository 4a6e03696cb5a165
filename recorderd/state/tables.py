"""The relational state as SQLAlchemy tables.

Law: the single description of what the newest migration leaves behind (a test compares the two). Times are
recorder UTC microseconds; identities are UUIDs as text, so that the same tables work on PostgreSQL later.
"""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()

servers = sa.Table(
    "servers",
    METADATA,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("created_us", sa.BigInteger, nullable=False),
)

storages = sa.Table(
    "storages",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("volume", sa.String(36), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("segment", sa.Text),
    sa.Column("segment_bytes", sa.BigInteger),
    sa.Column("ledger_pages", sa.BigInteger),
    sa.Column("first_seen_us", sa.BigInteger, nullable=False),
)

hardware = sa.Table(
    "hardware",
    METADATA,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("driver", sa.String(64), nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("driver", "address", name="one_hardware_per_address"),
)

cameras = sa.Table(
    "cameras",
    METADATA,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("hardware_id", sa.String(36), nullable=False),
    sa.Column("channel", sa.Integer, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("hardware_id", "channel", name="one_camera_per_channel"),
)

events = sa.Table(
    "events",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("time_us", sa.BigInteger, nullable=False, index=True),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("camera", sa.String(36)),
    sa.Column("hardware", sa.String(36)),
    sa.Column("params", sa.JSON, nullable=False),
    sqlite_autoincrement=True,  # an id is never given twice: clients resume by it
)

jobs = sa.Table(
    "jobs",
    METADATA,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("params", sa.JSON, nullable=False),
    sa.Column("result", sa.JSON),
    sa.Column("error", sa.JSON),
    sa.Column("created_us", sa.BigInteger, nullable=False, index=True),
    sa.Column("started_us", sa.BigInteger),
    sa.Column("finished_us", sa.BigInteger),
    sa.Column("detail", sa.JSON),
    sa.Column("key", sa.String(200)),
    sa.Index("ix_jobs_kind_key", "kind", "key", unique=True),
)
