"""Identifiers: UUIDs for server, storage, hardware, camera, track. Names are labels and may change."""

from __future__ import annotations

import uuid
from typing import NewType

ServerId = NewType("ServerId", uuid.UUID)
StorageId = NewType("StorageId", uuid.UUID)
HardwareId = NewType("HardwareId", uuid.UUID)
CameraId = NewType("CameraId", uuid.UUID)
TrackId = NewType("TrackId", uuid.UUID)


def new_uuid() -> uuid.UUID:
    """A random identity; kept for ever once given out."""
    return uuid.uuid4()


def derived_uuid(parent: uuid.UUID, name: str) -> uuid.UUID:
    """The identity of a part that is fixed by its owner, e.g. a camera's track (RFC 9562, version 5)."""
    return uuid.uuid5(parent, name)
