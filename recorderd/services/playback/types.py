"""The words of recorded playback: what a player gives, where it stands, what may be asked of it.

Law: plain values and errors, no I/O. All times are integer microseconds of recorder UTC. Used by every server that
plays recorded footage: WebSocket, stream API, RTSP.
"""

from __future__ import annotations

import enum
import math
import re
import uuid
from dataclasses import dataclass
from typing import Literal, Self

from mediadb.types import Interval, Sample, TrackConfig, TrackKind
from recorderd.core.errors import NotFoundError, UsageError

MAX_SPEED = 16.0
KEYS_ABOVE = 4.0  # faster than this, or backwards faster than -1: key frames only
MAX_STEP = 10_000  # frames in one step
BATCH_BYTES = 8 * 2**20

Gaps = Literal["skip", "keep"]
EndReason = Literal["begin", "end", "live"]


class BadCursor(UsageError):
    """The text is no cursor, or it is not of this player's track or of no known run, or nothing is left behind it."""

    code = "bad-cursor"


class NoFootage(NotFoundError):
    """There is nothing recorded where the player was told to go."""

    code = "no-footage"


class SeekMode(enum.StrEnum):
    """Where a seek arrives, seen from its time."""

    EXACT = "exact"  # the picture shown at that time: the newest at or before it; what it needs comes first as preroll
    KEY = "key"  # the newest key picture at or before
    NEXT_KEY = "next-key"
    PREVIOUS_KEY = "previous-key"
    NEXT_SEQUENCE = "next-sequence"  # the first picture of the next gapless stretch
    PREVIOUS_SEQUENCE = "previous-sequence"  # the first picture of the gapless stretch before the present one
    BEGIN = "begin"  # the first picture there is
    END = "end"  # the last durable picture
    CURSOR = "cursor"  # behind the frame that a cursor names; where that is gone, the first key left behind it


_CURSOR = re.compile(r"([0-9a-f]{32}):([0-9a-f]{16}):(\d{1,20}):(\d{1,10})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a track: behind sample `index` of chunk `seq` of `run`. It stays valid for ever, or is gone."""

    track: uuid.UUID
    run: int
    seq: int
    index: int

    def __str__(self) -> str:
        return f"{self.track.hex}:{self.run:016x}:{self.seq}:{self.index}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From its text. Raises BadCursor."""
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise BadCursor("not a cursor: use one that a player gave out", cursor=text[:100])
        return cls(uuid.UUID(found[1]), int(found[2], 16), int(found[3]), int(found[4]))


@dataclass(frozen=True, slots=True)
class Frame:
    """One recorded sample on its way to a viewer. `time_us` is when it is shown (time of arrival plus pts - dts);
    `preroll`: decode it, do not show it. `run`, `seq`, `index` are its chunk and its place in it."""

    track: uuid.UUID
    kind: TrackKind
    sample: Sample
    config: TrackConfig
    time_us: int
    run: int
    seq: int
    index: int
    is_key: bool
    preroll: bool

    @property
    def cursor(self) -> Cursor:
        """The place behind this frame."""
        return Cursor(self.track, self.run, self.seq, self.index)


@dataclass(frozen=True, slots=True)
class Hole:
    """No footage that can be shown in [start_us, end_us), and why."""

    start_us: int
    end_us: int
    causes: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class End:
    """Nothing more in this direction: 'begin' or 'end' of footage (or of what was asked for), 'live': caught up with
    the durable end of a recording."""

    reason: EndReason
    time_us: int


Item = Frame | Hole | End


@dataclass(frozen=True, slots=True)
class Position:
    """Where a player stands: the picture shown. `previous_us` and `next_us` are the key pictures around its group of
    pictures, None where there is none (or it was not looked for yet)."""

    time_us: int
    cursor: Cursor | None = None
    previous_us: int | None = None
    next_us: int | None = None


@dataclass(frozen=True, slots=True)
class PlayerOptions:
    """`gaps`: a hole is announced and passed at once ('skip') or keeps its length ('keep'). `follow`: at the durable
    end wait for more. `lead_us`: wall time by which frames are given ahead of when they are due. `end_us`: forward
    play ends there. `batch_bytes`: what one read brings into memory at most (one chunk may be larger)."""

    gaps: Gaps = "skip"
    follow: bool = False
    lead_us: int = 0
    end_us: int | None = None
    batch_bytes: int = BATCH_BYTES


class Motion(enum.Enum):
    """How frames are chosen at a speed."""

    PAUSED = "paused"
    ALL = "all"
    KEYS = "keys"
    REVERSE = "reverse"
    REVERSE_KEYS = "reverse-keys"


def motion_of(speed: float) -> Motion:
    """The motion of a speed. Raises UsageError for one outside -16 … 16 that is not infinite."""
    if math.isinf(speed):
        return Motion.ALL if speed > 0 else Motion.REVERSE
    if not -MAX_SPEED <= speed <= MAX_SPEED:  # NaN too
        raise UsageError(f"a speed lies from -{MAX_SPEED:g} to {MAX_SPEED:g}, or is infinite", speed=str(speed))
    if speed == 0:
        return Motion.PAUSED
    if speed > 0:
        return Motion.KEYS if speed > KEYS_ABOVE else Motion.ALL
    return Motion.REVERSE if speed >= -1 else Motion.REVERSE_KEYS
