"""What others may see of the engine: plain values, copied at the moment of asking.

Law: no behaviour and no reference into the engine; built on the loop's thread, readable anywhere. The API turns
these into JSON and owns their names outside.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recorderd.engine.track import TrackRecorder


@dataclass(frozen=True, slots=True)
class TrackView:
    """`state`, `reason`: what the ledger says now (mediadb.types.State values); `not_recording`: the alarm."""

    id: uuid.UUID
    kind: str
    codec: str
    codec_string: str
    state: str
    reason: str
    since_us: int
    last_committed_us: int | None
    not_recording: bool
    interval_us: int
    counters: Mapping[str, int]

    @classmethod
    def of(cls, track: TrackRecorder) -> TrackView:
        cause, stored = track.cause, track.stored
        return cls(
            id=track.spec.track,
            kind=track.spec.kind.name.lower(),
            codec=stored.codec if stored else "",
            codec_string=stored.codec_string if stored else "",
            state=str(cause.state),
            reason=cause.reason,
            since_us=track.since_us,
            last_committed_us=track.last_committed_us,
            not_recording=track.alarm.active,
            interval_us=track.interval_us,
            counters=asdict(track.counters),
        )


@dataclass(frozen=True, slots=True)
class StreamView:
    """`connected`, `reason`: the connection now; `fps`, `bitrate` (bit/s) over the last seconds; `ignored_units`:
    what the driver sent and nobody asked for (audio or metadata switched off)."""

    role: str
    connected: bool
    reason: str
    codec: str
    codec_string: str
    width: int
    height: int
    fps: float
    bitrate: int
    viewers: int
    prebuffer_us: int
    prebuffer_bytes: int
    tracks: tuple[TrackView, ...]
    ignored_units: int = 0


@dataclass(frozen=True, slots=True)
class RecordingView:
    """The recording of the main video track."""

    state: str
    reason: str
    since_us: int
    last_committed_us: int | None
    not_recording: bool


@dataclass(frozen=True, slots=True)
class CameraView:
    """`state`, `reason` are those of the main video track; `connected` is the connection's, also when nothing is
    to be recorded."""

    id: uuid.UUID
    name: str
    channel: int
    hardware_id: uuid.UUID
    hardware: str
    storage: str
    record: str
    state: str
    reason: str
    connected: bool
    recording: RecordingView
    streams: tuple[StreamView, ...]


@dataclass(frozen=True, slots=True)
class HardwareView:
    """`state`: 'connecting' | 'online' | 'offline' | 'auth-failed' | 'unsupported' | 'driver-bug'; `retry_us`:
    recorder UTC of the next attempt, None when online or waiting for a reload."""

    id: uuid.UUID
    name: str
    driver: str
    address: str
    state: str
    reason: str
    message: str
    since_us: int
    retry_us: int | None
    attempts: int
    driver_bugs: int
    vendor: str = ""
    model: str = ""
    firmware: str = ""
    serial: str = ""
    cameras: tuple[uuid.UUID, ...] = ()
    stats: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StorageView:
    """`state`: 'ok' | 'degraded' | 'stalled' | 'error' | 'missing'; `code` and `params` say what is wrong."""

    name: str
    path: str
    state: str
    code: str
    params: Mapping[str, object]
    since_us: int
    last_commit_us: int | None
    commits: int
    shed_samples: int
    stats: Mapping[str, int]
