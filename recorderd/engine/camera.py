"""One camera: its streams, its names, whether it is recorded.

Law: holds no reference to another camera and does not know how its hardware is connected. Built and changed by
the engine; its streams are driven by the hardware's task tree.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from mediadb.types import Names, TrackKind
from recorderd.config.schema import CameraConfig, HardwareConfig
from recorderd.core.clock import Clock
from recorderd.driverapi.base import StreamRequest
from recorderd.engine.coverage import CHANGED, REMOVED, STOPPED
from recorderd.engine.live import LiveHub
from recorderd.engine.ports import EventLog
from recorderd.engine.storage import StorageWatch
from recorderd.engine.stream import StreamParts, StreamRecorder, track_id
from recorderd.engine.views import CameraView, RecordingView

ENDS = {"server-stopping": STOPPED, "camera-removed": REMOVED, "camera-changed": CHANGED}


@dataclass(frozen=True, slots=True)
class CameraParts:
    id: uuid.UUID
    hardware: uuid.UUID
    clock: Clock
    events: EventLog
    live: LiveHub
    storage: StorageWatch


class Camera:
    """`streams[0]` is the main one: its video track's state is the camera's."""

    def __init__(self, parts: CameraParts, hardware: HardwareConfig, config: CameraConfig) -> None:
        self.id = parts.id
        self.config = config
        self.hardware = hardware
        self.storage = parts.storage
        self._parts = parts
        self.streams = [self._make_stream(stream.role, stream.path, i == 0) for i, stream in enumerate(config.streams)]
        self._record()
        for stream in self.streams:
            parts.storage.join(stream)
            parts.live.offer(self.id, stream.request.role, stream)
        self.remember()

    def remember(self) -> None:
        """Audio and metadata tracks of earlier runs go on being explained, even when the camera is silent now."""
        wanted = {TrackKind.AUDIO: self.config.audio, TrackKind.METADATA: self.config.metadata}
        for stream in self.streams:
            for kind, on in wanted.items():
                if on and track_id(self.id, stream.request.role, kind) in self.storage.known_tracks:
                    stream.add(kind)

    def apply(self, hardware: HardwareConfig, config: CameraConfig) -> None:
        """Take another configuration that needs no new connection: names, record, prebuffer."""
        renamed = (hardware.name, config.name) != (self.hardware.name, self.config.name)
        self.hardware, self.config = hardware, config
        if renamed:
            for stream in self.streams:
                stream.rename(self._names())
        self._record()

    def stop(self, reason: str) -> None:
        """State the end of every track and send the viewers away; `reason` is a key of `ENDS`."""
        for stream in self.streams:
            stream.stop(ENDS[reason], reason)
            self._parts.live.withdraw(self.id, stream.request.role, reason)
            self.storage.leave(stream)

    def view(self) -> CameraView:
        main = self.streams[0]
        track = main.video
        recording = RecordingView(
            state=str(track.cause.state),
            reason=track.cause.reason,
            since_us=track.since_us,
            last_committed_us=track.last_committed_us,
            not_recording=track.alarm.active,
        )
        return CameraView(
            id=self.id,
            name=self.config.name,
            channel=self.config.channel,
            hardware_id=self._parts.hardware,
            hardware=self.hardware.name,
            storage=self.config.storage,
            record=self.config.record,
            state=recording.state,
            reason=recording.reason,
            connected=main.connected,
            recording=recording,
            streams=tuple(stream.view() for stream in self.streams),
        )

    def _record(self) -> None:
        for stream, config in zip(self.streams, self.config.streams, strict=True):
            stream.record(self.config.record == "always" and config.record, self.config.prebuffer_us)

    def _names(self) -> Names:
        return Names(camera=self.config.name, hardware=self.hardware.name)

    def _emit(self, code: str, params: dict[str, object]) -> None:
        self._parts.events.emit(code, camera=self.id, hardware=self._parts.hardware, params=params)

    def _make_stream(self, role: str, path: str, primary: bool) -> StreamRecorder:
        parts = self._parts
        request = StreamRequest(self.config.channel, role, path, self.config.audio, self.config.metadata)
        made = StreamParts(
            parts.id, parts.hardware, self._names(), parts.storage.store, parts.clock, self._emit, request, primary
        )
        return StreamRecorder(made, self.config.prebuffer_us)
