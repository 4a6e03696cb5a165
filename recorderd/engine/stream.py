"""One stream of one camera: the driver's Sink, the viewers' source, and its tracks.

Law: `unit` hands each unit to the prebuffer, to every viewer and to its track, and never awaits. It knows what
the stream is to the camera (role, recorded or not), not how it is connected. Owned by one camera; driven by
that hardware's task tree.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import structlog

from mediadb.types import Cause, Names, TrackKind, TrackSpec
from recorderd.core.clock import Clock
from recorderd.core.ids import derived_uuid
from recorderd.driverapi.base import StreamRequest
from recorderd.engine.coverage import CONNECTING
from recorderd.engine.live import LiveChannel
from recorderd.engine.ports import Emit, MediaStore
from recorderd.engine.prebuffer import Item, PrebufferRing
from recorderd.engine.told import by_arrival
from recorderd.engine.track import TrackRecorder
from recorderd.engine.views import StreamView, TrackView
from recorderd.media.access_unit import AccessUnit, MediaKind

_MEDIA = {
    TrackKind.VIDEO: MediaKind.VIDEO,
    TrackKind.AUDIO: MediaKind.AUDIO,
    TrackKind.METADATA: MediaKind.METADATA,
}
# Looked up once: a member costs an enum's own lookup, and `unit` is called for every picture of every camera.
_VIDEO, _AUDIO, _METADATA = MediaKind.VIDEO, MediaKind.AUDIO, MediaKind.METADATA
_RATE_SHARE = 0.25  # weight of the newest second in fps and bit rate
_FORWARDED = frozenset({"config-changed", "clock-drift"})

_log = structlog.get_logger("stream")


@dataclass(frozen=True, slots=True)
class StreamParts:
    """What a stream is made of. `emit` is bound to the camera; `primary`: the camera's state is this one's."""

    camera: uuid.UUID
    hardware: uuid.UUID
    names: Names
    store: MediaStore
    clock: Clock
    emit: Emit
    request: StreamRequest
    primary: bool


class StreamRecorder:
    """Implements `driverapi.base.Sink` and `engine.live.LiveSource`."""

    def __init__(self, parts: StreamParts, prebuffer_us: int) -> None:
        self.request = parts.request
        self.primary = parts.primary
        self.channel = LiveChannel()
        self.connected = False
        self.reason = CONNECTING  # why not connected
        self.media_since_us: int | None = None  # monotonic time of the first unit since it was opened
        self.ignored_units = 0
        self._parts = parts
        self._names = parts.names
        self._ring = PrebufferRing(prebuffer_us)
        self._recording: bool | None = None
        self._storage_cause: Cause | None = None
        self._said_online: bool | None = None
        self._rates = (0, 0, 0.0, 0.0)  # units and bytes at the last second; fps, bit/s
        self.video = self._make_track(TrackKind.VIDEO)
        self.audio: TrackRecorder | None = None
        self.metadata: TrackRecorder | None = None

    @property
    def tracks(self) -> list[TrackRecorder]:
        """Video, then what else there is."""
        return [track for track in (self.video, self.audio, self.metadata) if track is not None]

    # -- Sink ------------------------------------------------------------------------------------------------

    def unit(self, kind: MediaKind, unit: AccessUnit) -> None:
        if kind is _VIDEO:
            track = self.video
        elif kind is _AUDIO and self.request.audio:
            track = self.audio or self.add(TrackKind.AUDIO)
        elif kind is _METADATA and self.request.metadata:
            track = self.metadata or self.add(TrackKind.METADATA)
            unit = by_arrival(unit)
        else:
            self.ignored_units += 1
            return
        if self.media_since_us is None:
            self.media_since_us = unit.recv_mono_us
        self._ring.push(kind, unit)
        for viewer in self.channel.viewers:
            viewer.push(kind, unit)
        track.unit(unit)

    def loss(self, kind: MediaKind, packets: int) -> None:
        track = {MediaKind.AUDIO: self.audio, MediaKind.METADATA: self.metadata}.get(kind, self.video)
        if track is not None:
            track.loss(packets)

    def event(self, code: str, params: dict[str, object]) -> None:
        if code == "tracks":
            self._announced(params.get("kinds"))
        elif code == "clock-step":
            for track in self.tracks:
                track.camera_clock_step(params.get("delta_us"))
            self._emit(code, {"source": "camera", **params})
        elif code == "receive-overflow":
            for track in self.tracks:
                track.dropped_here(params)
        elif code in _FORWARDED:
            self._emit(code, params)
        else:
            _log.debug("driver-event", code=code, stream=self.request.role)

    def watched(self) -> bool:
        return bool(self.channel.viewers)

    # -- LiveSource ------------------------------------------------------------------------------------------

    def newest_gop(self) -> list[Item]:
        return self._ring.newest_gop()

    # -- the hardware's task tree ----------------------------------------------------------------------------

    def opened(self) -> None:
        """The driver started the stream."""
        self.connected = True
        self.reason = ""
        self.media_since_us = None
        for track in self.tracks:
            track.online()
        if self.primary and self._said_online is not True:
            self._said_online = True
            self._emit("camera-online", {})

    def closed(self, reason: str, params: dict[str, object]) -> None:
        """The stream ended or could not be opened; called for each attempt."""
        self.connected = False
        self.reason = reason
        self._ring.clear()
        for track in self.tracks:
            track.offline(reason, params)
        if self.primary and self._said_online is not False:
            self._said_online = False
            self._emit("camera-offline", {"reason": reason, **params})

    def media_us(self, now_mono_us: int) -> int:
        """How long media has flowed since the stream was opened."""
        return now_mono_us - self.media_since_us if self.media_since_us is not None else 0

    # -- the camera ------------------------------------------------------------------------------------------

    def add(self, kind: TrackKind) -> TrackRecorder:
        """The audio or metadata track exists: announced, seen, or in the storage from an earlier run."""
        track = self.audio if kind is TrackKind.AUDIO else self.metadata
        if track is None:
            track = self._make_track(kind)
            if kind is TrackKind.AUDIO:
                self.audio = track
            else:
                self.metadata = track
            track.record(bool(self._recording), self.reason or CONNECTING)
            track.storage(self._storage_cause)
        return track

    def record(self, on: bool, prebuffer_us: int) -> None:
        """Record or not from now on; switching on reaches back over the prebuffer."""
        self._ring.reach(0 if on else prebuffer_us)  # while recording only live viewers need the newest GOP
        if on is self._recording:
            return
        self._recording = on
        held = list(self._ring.all()) if on else []
        since_us = held[0][1].recv_us if held else None
        for track in self.tracks:
            kind = _MEDIA[track.spec.kind]
            track.record(on, self.reason or CONNECTING, since_us)
            track.replay(unit for one, unit in held if one is kind)

    def rename(self, names: Names) -> None:
        self._names = names
        for track in self.tracks:
            track.rename(names)

    def storage(self, cause: Cause | None) -> None:
        """The storage's trouble begins or ends."""
        self._storage_cause = cause
        for track in self.tracks:
            track.storage(cause)

    def stop(self, cause: Cause, reason: str) -> None:
        """`cause` goes into the ledger, `reason` to the viewers."""
        for track in self.tracks:
            track.stop(cause)
        self.channel.close(reason)

    def tick(self, now_mono_us: int) -> None:
        """Once a second."""
        for track in self.tracks:
            track.tick(now_mono_us, self.connected)
        counters = self.video.counters
        units, bytes_, fps, bitrate = self._rates
        fps += _RATE_SHARE * (counters.units - units - fps)
        bitrate += _RATE_SHARE * ((counters.bytes - bytes_) * 8 - bitrate)
        self._rates = (counters.units, counters.bytes, fps, bitrate)

    def view(self) -> StreamView:
        stored = self.video.stored
        return StreamView(
            role=self.request.role,
            connected=self.connected,
            reason=self.reason,
            codec=stored.codec if stored else "",
            codec_string=stored.codec_string if stored else "",
            width=stored.width if stored else 0,
            height=stored.height if stored else 0,
            fps=round(self._rates[2], 2),
            bitrate=round(self._rates[3]),
            viewers=self.channel.people(),
            prebuffer_us=self._ring.duration_us,
            prebuffer_bytes=self._ring.bytes,
            ignored_units=self.ignored_units,
            tracks=tuple(TrackView.of(track) for track in self.tracks),
        )

    # -- inside ----------------------------------------------------------------------------------------------

    def _announced(self, kinds: object) -> None:
        """The device said what the stream carries: an announced audio track that never sends is an alarm. Metadata
        come when there is something to tell."""
        names = set(kinds) if isinstance(kinds, list | tuple | set | frozenset) else set()
        if "audio" in names and self.request.audio:
            self.add(TrackKind.AUDIO).expected = True
        elif self.audio is not None:
            self.audio.expected = False
            self.audio.offline("not-announced", {})
        if "metadata" in names and self.request.metadata:
            self.add(TrackKind.METADATA)
        elif self.metadata is not None:
            self.metadata.offline("not-announced", {})

    def _emit(self, code: str, params: dict[str, object]) -> None:
        self._parts.emit(code, {"stream": self.request.role, **params})

    def _make_track(self, kind: TrackKind) -> TrackRecorder:
        parts, role = self._parts, self.request.role
        track = track_id(parts.camera, role, kind)
        spec = TrackSpec(track, parts.camera, parts.hardware, kind, role)
        return TrackRecorder(spec, self._names, parts.store, parts.clock, parts.emit)


def track_id(camera: uuid.UUID, role: str, kind: TrackKind) -> uuid.UUID:
    """A track's identity follows from its camera: a rename or another address keeps the footage."""
    return derived_uuid(camera, f"{role}/{kind.name.lower()}")
