"""The words of the media database: kinds, states, samples, tracks, intervals.

Law: plain values only, no I/O. All times are integer microseconds UTC of the recorder's clock (`_us`), every
interval is [start, end). Everyone may import this module; it imports nothing of the package.
"""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field
from typing import NamedTuple


class Kind(enum.IntEnum):
    """What a chunk holds. All but CONFIG carry a sequence number, gap-free per track and run."""

    KEY = 1
    DELTA = 2
    INTRA = 3
    AUDIO = 4
    METADATA = 5
    CONFIG = 6
    GAP = 7
    MARK = 8


class KeyType(enum.IntEnum):
    """How a sample may be entered."""

    DELTA = 0
    IDR = 1
    OPEN_GOP = 2
    RECOVERY_POINT = 3
    INTRA_ONLY = 4
    AUDIO = 5  # audio and metadata: each sample stands alone


class TrackKind(enum.IntEnum):
    VIDEO = 1
    AUDIO = 2
    METADATA = 3


class Origin(enum.IntEnum):
    LIVE = 0
    EDGE = 1
    REMOTE = 2
    IMPORT = 3
    FAILOVER = 4


class ChunkFlag(enum.IntFlag):
    DAMAGED = 1  # packets of these samples were lost
    DISCONTINUITY = 2  # media time does not continue from the previous chunk of the track
    LATE = 4  # written long after it was received


class TimeQuality(enum.IntEnum):
    """Where the camera's claim of UTC came from."""

    NONE = 0
    ARRIVAL = 1
    SENDER_REPORT = 2
    PLAY_RANGE = 3


class State(enum.StrEnum):
    """Exactly one per track and instant."""

    RECORDED = "recorded"
    NOT_SCHEDULED = "not-scheduled"
    CAMERA_OFFLINE = "camera-offline"
    NETWORK_LOSS = "network-loss"
    OVERLOAD_SHED = "overload-shed"
    STORAGE_ERROR = "storage-error"
    CLOCK_STEP = "clock-step"
    SERVER_DOWN = "server-down"
    GROOMED = "groomed"
    DELETED = "deleted"
    ON_REMOTE = "on-remote"
    REQUESTED = "requested"
    RETRIEVED = "retrieved"
    UNEXPLAINED = "unexplained"  # neither media nor a statement: a bug or foreign hands; never written, only found


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a state holds: a stable reason word and its parameters (JSON-able), e.g. ('stall', {})."""

    state: State
    reason: str = ""
    params: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interval:
    """One stretch of coverage of one track. `damaged_packets`/`damaged_samples` qualify RECORDED."""

    start_us: int
    end_us: int
    cause: Cause
    damaged_packets: int = 0
    damaged_samples: int = 0


@dataclass(frozen=True, slots=True)
class TrackSpec:
    """Identity of a track, kept for ever: written in CONFIG chunks and segment footers."""

    track: uuid.UUID
    camera: uuid.UUID
    hardware: uuid.UUID
    kind: TrackKind
    stream: str = "main"  # role of the stream it belongs to


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """How the samples of a track are coded. `sample_entry` is the ready MP4 box (avc1, hvc1, mp4a, ulaw, alaw):
    the database never parses NAL units. `codec` is a short word for people ("h264"); `codec_string` is RFC 6381."""

    codec: str
    timebase_hz: int
    sample_entry: bytes
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    codec_string: str = ""
    frame_ticks: int = 0  # nominal ticks between samples, 0 when unknown


class Sample(NamedTuple):
    """One sample as stored and as read back. `data` is in MP4 sample form."""

    data: bytes
    pts: int
    dts: int
    key_type: int
    recv_us: int
    cam_us: int | None = None
    cam_quality: int = 0
    lost_packets: int = 0
    damaged: bool = False
    discontinuity: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """Names at the time of recording: shown to people, not hashed, changeable later without harm."""

    camera: str = ""
    hardware: str = ""
