"""What a recording server sends, as values.

Law: immutable, no I/O, times are integer microseconds UTC of the recorder's clock (`_us`), ranges are [start, end).
Media stay as received: `data` is in MP4 sample form (NAL units behind 4-byte lengths; audio: the raw frame).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from recorderd.client.errors import ProtocolViolation
from recorderd.media.access_unit import MediaKind, UnitType
from recorderd.wire.errors import ProtocolError
from recorderd.wire.stream.frame_table import Row, read_table


@dataclass(frozen=True, slots=True)
class Server:
    """Who answers. `limits`: message, client_message, subscriptions (counts and bytes), idle_s."""

    id: str
    name: str
    version: str
    time_us: int
    limits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Config:
    """How the samples of one track are coded from here on. `entry` is the MP4 sample entry box (avc1, hvc1, mp4a...).

    `timebase_hz`: ticks per second of pts and dts. `frame_ticks`: nominal ticks between samples, 0 unknown.
    """

    number: int
    track: uuid.UUID | None
    kind: MediaKind
    codec: str
    timebase_hz: int
    entry: bytes
    codec_string: str = ""
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    frame_ticks: int = 0


@dataclass(frozen=True, slots=True)
class Unit:
    """One picture, audio frame or metadata document.

    `time_us`: when it is shown, on the recorder's clock; `recv_us`: when its first byte arrived there. `cam_us`: the
    camera's own claim, with `cam_quality` 0-3. `preroll`: decode, do not show. `skipped`: units before this one were
    left out because this viewer was slow. `discontinuity`: media time does not continue. `cursor`: the place after
    this unit in recorded footage, for `play(cursor=...)`; None for live.
    """

    config: Config
    data: bytes
    pts: int
    dts: int
    type: UnitType
    recv_us: int
    time_us: int
    cam_us: int | None = None
    cam_quality: int = 0
    lost_packets: int = 0
    key: bool = False
    discontinuity: bool = False
    skipped: bool = False
    preroll: bool = False
    damaged: bool = False
    cursor: str | None = None

    @property
    def kind(self) -> MediaKind:
        return self.config.kind


@dataclass(frozen=True, slots=True)
class ChunkSample:
    """One sample of a chunk; `data` is a view into the chunk's payload."""

    data: memoryview
    pts: int
    dts: int
    type: UnitType
    recv_us: int
    lost_packets: int
    damaged: bool

    @property
    def key(self) -> bool:
        return UnitType.DELTA < self.type < UnitType.AUDIO


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of one track as it is stored: at most one GOP, durable, its checksum verified by the server.

    `seq` counts without a gap per track and `run` of the server; `gop` is the seq of the chunk with the keyframe, None
    without video. `sha256` is over `salt` and `data`, as written when it was recorded. `cursor`: the place after this
    chunk; keep it with the bytes, then a later `pull` goes on behind it. `key`: a decoder may start with the first
    sample. `discontinuity`: media time does not continue from the chunk before. `damaged`: packets were lost on the way
    from the camera.
    """

    config: Config
    track: uuid.UUID
    run: int
    seq: int
    gop: int | None
    recv_us: int
    end_us: int
    base_dts: int
    count: int
    table: bytes
    data: memoryview
    salt: bytes
    sha256: bytes
    cursor: str
    key: bool = False
    discontinuity: bool = False
    damaged: bool = False

    @property
    def kind(self) -> MediaKind:
        return self.config.kind

    @property
    def whole(self) -> bool:
        """Has the payload the SHA-256 that was taken when it was recorded? (Half a second per GB.)"""
        digest = hashlib.sha256(self.salt)
        digest.update(self.data)
        return digest.digest() == self.sha256

    def rows(self) -> list[Row]:
        """Places, sizes and times without cutting the payload. Raises ProtocolViolation when table and payload
        disagree."""
        try:
            return read_table(self.table, self.count, len(self.data))
        except ProtocolError as error:
            raise ProtocolViolation(error.message, track=str(self.track), seq=self.seq) from error

    def samples(self) -> Iterator[ChunkSample]:
        """The samples in decode order, without copying. Raises as `rows`."""
        hz = self.config.timebase_hz or 1
        for row in self.rows():
            yield ChunkSample(
                self.data[row.offset : row.offset + row.size],
                self.base_dts + row.dts + row.cts,
                self.base_dts + row.dts,
                UnitType(row.key_type),
                self.recv_us + row.dts * 1_000_000 // hz,
                row.lost,
                row.damaged,
            )


@dataclass(frozen=True, slots=True)
class Sealed:
    """Live footage of a track is durable up to `until_us`; the next chunk will have the number `next_seq`."""

    track: uuid.UUID | None
    until_us: int
    next_seq: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of coverage in exactly one state; the last two qualify recorded footage."""

    start_us: int
    end_us: int
    state: str
    reason: str
    params: Mapping[str, Any] = field(default_factory=dict)
    damaged_packets: int = 0
    damaged_frames: int = 0


@dataclass(frozen=True, slots=True)
class Hole:
    """No footage in [start_us, end_us), and why (at most 100 causes). `track`: of this one only."""

    start_us: int
    end_us: int
    causes: tuple[Interval, ...] = ()
    track: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where playback or a pull stands. `end`: 'begin' or 'end' when there is nothing further in this direction, 'live'
    when all that is durable was sent."""

    time_us: int
    cursor: str | None = None
    end: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the server's event log. `id` grows; give it as `after` to go on behind it."""

    id: int
    time_us: int
    code: str
    camera: str | None
    hardware: str | None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """A gapless stretch of footage."""

    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class TrackSpans:
    """Where one track has footage."""

    track: uuid.UUID
    stream: str
    kind: MediaKind
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera; `about` is everything the server says of it (docs/api/stream.md, `cameras`)."""

    id: str
    name: str
    state: str
    about: Mapping[str, Any]
