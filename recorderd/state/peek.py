"""What a state database says about us, read without opening it for use: for check-config and after damage.

Law: touches nothing (SQLite's immutable mode makes no companion file) and never fails: what cannot be read is
simply not known. Each table is read on its own, so that one damaged page does not hide the rest.
"""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Known:
    """`volumes`: volume UUID by storage name; `hardware`: (id, driver, address); `cameras`: (id, hardware, channel)."""

    server: uuid.UUID | None = None
    volumes: dict[str, uuid.UUID] = field(default_factory=dict)
    hardware: list[tuple[uuid.UUID, str, str]] = field(default_factory=list)
    cameras: list[tuple[uuid.UUID, uuid.UUID, int]] = field(default_factory=list)


def peek(path: Path) -> Known:
    """Whatever of `path` can still be read."""
    servers = _rows(path, "SELECT id FROM servers")
    return Known(
        server=uuid.UUID(servers[0][0]) if servers else None,
        volumes={name: uuid.UUID(volume) for name, volume in _rows(path, "SELECT name, volume FROM storages")},
        hardware=[
            (uuid.UUID(id_), driver, address)
            for id_, driver, address in _rows(path, "SELECT id, driver, address FROM hardware")
        ],
        cameras=[
            (uuid.UUID(id_), uuid.UUID(hardware), channel)
            for id_, hardware, channel in _rows(path, "SELECT id, hardware_id, channel FROM cameras")
        ],
    )


def _rows(path: Path, query: str) -> list[Any]:
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            return connection.execute(query).fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return []  # not there yet, or damaged: not known
