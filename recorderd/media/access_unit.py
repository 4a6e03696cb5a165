"""What travels from a driver to disk and viewers: one coded picture or audio frame, and what it is coded as.

Law: an access unit is made once and never changed; `data` is the one `bytes` object that hash, file and every
viewer share. Nothing here decodes, and nothing here knows where the unit came from.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class MediaKind(enum.StrEnum):
    VIDEO = "video"
    AUDIO = "audio"
    METADATA = "metadata"


class Codec(enum.StrEnum):
    H264 = "h264"
    H265 = "h265"
    AAC = "aac"
    PCMU = "pcmu"  # G.711 mu-law
    PCMA = "pcma"  # G.711 A-law
    OPUS = "opus"
    L16 = "l16"  # 16-bit samples, big-endian, channels interleaved (RFC 3551 4.5.11)
    G726 = "g726"  # `CodecConfig.extra` says bits a sample and bit order: see `media.pcm`
    JPEG = "mjpeg"  # each unit one whole JPEG image
    ONVIF_METADATA = "metadata"  # each unit one document: `media.metadata`


class UnitType(enum.IntEnum):
    """How a unit may be entered; everything but DELTA starts a GOP. Values equal mediadb's KeyType."""

    DELTA = 0
    IDR = 1
    OPEN_GOP = 2  # CRA or BLA: leading pictures follow in decode order but display earlier
    RECOVERY_POINT = 3  # gradual refresh announced by SEI
    INTRA_ONLY = 4  # every unit stands alone
    AUDIO = 5  # audio and metadata: each unit stands alone, no GOP


class TimeQuality(enum.IntEnum):
    """Where a UTC estimate of the camera came from; higher is better."""

    NONE = 0
    ARRIVAL = 1
    SENDER_REPORT = 2  # RTCP SR pairs
    PLAY_RANGE = 3  # PLAY response Range: clock= with rtptime


@dataclass(frozen=True, slots=True)
class CodecConfig:
    """How the units of a track are coded, from now until the next config.

    `parameter_sets`: H.264 (SPS..., PPS...), H.265 (VPS..., SPS..., PPS...), NAL units without start code or
    length. `extra`: AAC's AudioSpecificConfig (ISO 14496-3), G.726's packing, metadata's media type. `width`/`height`:
    displayed luma samples.
    `reorder`: how many pictures may precede one in decode order and follow it in output order.
    `frame_ticks`: nominal ticks between pictures or 0 when unknown.
    """

    codec: Codec
    kind: MediaKind
    timebase_hz: int
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    parameter_sets: tuple[bytes, ...] = ()
    extra: bytes = b""
    reorder: int = 0
    frame_ticks: int = 0
    codec_string: str = ""  # RFC 6381, e.g. "avc1.4d0028", for players


class AccessUnit:
    """One coded unit.

    data         H.264/H.265: NAL units each behind a 4-byte big-endian length, exactly as received and in order,
                 SEI, AUD and parameter sets included (= MP4 sample form). JPEG: the image. Audio: the raw frame.
                 Metadata: one document.
    pts, dts     unwrapped media time in `config.timebase_hz` ticks; dts never decreases inside a clock run.
    recv_us      recorder UTC when the unit's first byte arrived; recv_mono_us the same on the monotonic clock.
    cam_us       the camera's own claim of UTC at this unit, or None; cam_quality says where it came from.
    lost_packets RTP packets known lost since the previous unit of this track (0 = none).
    damaged      part of this very unit was lost; what arrived is kept.
    discontinuity media time does not continue from the previous unit (reconnect, SSRC change, clock jump).
    """

    __slots__ = (
        "cam_quality", "cam_us", "config", "damaged", "data", "discontinuity",
        "dts", "lost_packets", "pts", "recv_mono_us", "recv_us", "type",
    )  # fmt: skip

    def __init__(
        self,
        data: bytes,
        pts: int,
        dts: int,
        type: UnitType,
        recv_us: int,
        recv_mono_us: int,
        config: CodecConfig,
        cam_us: int | None = None,
        cam_quality: TimeQuality = TimeQuality.NONE,
        lost_packets: int = 0,
        damaged: bool = False,
        discontinuity: bool = False,
    ) -> None:
        self.data = data
        self.pts = pts
        self.dts = dts
        self.type = type
        self.recv_us = recv_us
        self.recv_mono_us = recv_mono_us
        self.config = config
        self.cam_us = cam_us
        self.cam_quality = cam_quality
        self.lost_packets = lost_packets
        self.damaged = damaged
        self.discontinuity = discontinuity

    @property
    def is_key(self) -> bool:
        """True when a GOP starts here; False for audio and metadata, which have no GOPs."""
        return UnitType.DELTA < self.type < UnitType.AUDIO

    def __repr__(self) -> str:
        return f"AccessUnit({self.type.name}, {len(self.data)} B, pts={self.pts}, dts={self.dts})"
