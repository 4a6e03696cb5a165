"""From a camera and a stream to the tracks and the store that hold its footage.

Law: knows how tracks are named and where they are kept; reads nothing itself. Blocking reads go through
`AsyncStore.read`, which runs them on the volume's read pool. Called by the handlers about recorded media.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mediadb.types import TrackKind
from recorderd.engine.stream import track_id
from recorderd.engine.views import CameraView
from recorderd.server.problems import Refusal
from recorderd.services.reports.service import Asked

if TYPE_CHECKING:
    from mediadb.aio import AsyncStore
    from recorderd.engine.engine import Engine
    from recorderd.server.deps import ServerDeps

KINDS = (TrackKind.VIDEO, TrackKind.AUDIO, TrackKind.METADATA)


@dataclass(frozen=True, slots=True)
class TrackRef:
    """One track of a camera, known to the database or not."""

    id: uuid.UUID
    stream: str
    kind: str


def camera_tracks(view: CameraView) -> list[TrackRef]:
    """Every track the camera can have, main video first. The identities are fixed by camera, role and kind, so
    footage of a camera that is away is found as well."""
    return [
        TrackRef(track_id(view.id, stream.role, kind), stream.role, kind.name.lower())
        for stream in sorted(view.streams, key=lambda stream: stream.role != "main")
        for kind in KINDS
    ]


def main_track(view: CameraView) -> uuid.UUID:
    """The track whose state is the camera's: its main video."""
    return track_id(view.id, "main", TrackKind.VIDEO)


def asked_of(engine: Engine) -> list[Asked]:
    """Every camera, as reports and audit ask for it."""
    limits = {one.name: one.stats.get("retention_us") for one in engine.storages()}
    return [asked(one, limits.get(one.storage)) for one in engine.cameras()]


def asked(view: CameraView, retention_us: int | None) -> Asked:
    """One camera of a report."""
    return Asked(view.id, view.name, view.storage, main_track(view), retention_us or None)


def stream_tracks(view: CameraView, role: str) -> tuple[uuid.UUID, uuid.UUID]:
    """(video, audio) of one stream. Raises Refusal (not-found)."""
    if role not in {stream.role for stream in view.streams}:
        known = ", ".join(stream.role for stream in view.streams)
        raise Refusal("not-found", f"{view.name} has no stream {role!r}; it has {known}", stream=role)
    return track_id(view.id, role, TrackKind.VIDEO), track_id(view.id, role, TrackKind.AUDIO)


def store_of(deps: ServerDeps, view: CameraView) -> AsyncStore:
    """The store that holds the camera's footage. Raises Refusal (storage-unavailable)."""
    store = deps.stores.get(view.storage)
    if store is None:
        raise Refusal(
            "storage-unavailable", f"the storage {view.storage!r} is not open; see /api/v1/storages",
            storage=view.storage,
        )  # fmt: skip
    return store
