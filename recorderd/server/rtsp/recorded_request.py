"""What /recorded/CAMERA and each PLAY ask for, and what the database knows about it: formats, limits, a course.

Law: `look_up` and `is_recorded` block and run on the volume's read pool; everything else is pure. Called by the
recorded mount and its visits.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mediadb.errors import MediaDbError
from mediadb.read.reader import Reader
from mediadb.types import TrackKind
from recorderd.engine.views import CameraView
from recorderd.media.access_unit import CodecConfig
from recorderd.rtspserver.statuses import Refused
from recorderd.rtspserver.wishes import PlayWish
from recorderd.server.rtsp.formats import coded_as
from recorderd.services.playback.types import Cursor, Gaps, NoFootage

if TYPE_CHECKING:
    from mediadb.aio import AsyncStore

_BEGINNING_US = 0
_FAR_US = 253_402_300_799_000_000


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """`tracks`: the leading picture, then sound if wanted. `start_us`, `end_us`: the window of the URL."""

    view: CameraView
    store: AsyncStore
    tracks: tuple[tuple[uuid.UUID, TrackKind], ...]
    start_us: int | None
    end_us: int | None
    gaps: Gaps


@dataclass(frozen=True, slots=True)
class Footage:
    """`configs` by track, newest of the window; `begin_us` where npt 0 lies, `end_us` of the durable footage."""

    configs: dict[uuid.UUID, CodecConfig]
    begin_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a viewer is paused or plays: the frame sent last, and where its course ended."""

    time_us: int
    cursor: Cursor
    end_us: int | None


@dataclass(frozen=True, slots=True)
class Course:
    """Where one PLAY begins and ends in recorder UTC, and how fast. `after`: go on behind this very frame."""

    start_us: int
    end_us: int | None
    scale: float
    paced: bool
    after: Cursor | None = None

    def is_beyond(self, time_us: int) -> bool:
        """Does a picture of this time lie behind the end?"""
        if self.end_us is None:
            return False
        return time_us >= self.end_us if self.scale > 0 else time_us < self.end_us


def course_of(wish: PlayWish, footage: Footage, window: RecordedRequest, standing: Standing | None) -> Course:
    """What a PLAY asks for, inside the window of the address. Raises Refused (457)."""
    scale, paced = wish.scale or 1.0, wish.rate_control or not wish.reliable
    asked = wish.range
    if asked is None and standing is not None:
        edge_us = window.end_us if scale > 0 else window.start_us
        kept = standing.end_us is not None and (standing.end_us > standing.time_us) == (scale > 0)
        end_us = standing.end_us if kept else edge_us
        return Course(standing.time_us, end_us, scale, paced, standing.cursor if scale > 0 else None)
    if asked is None:
        if scale < 0:
            return Course(footage.end_us, window.start_us, scale, paced)
        return Course(footage.begin_us, window.end_us, scale, paced)
    base_us = footage.begin_us if asked.unit == "npt" else 0
    start_us = footage.end_us if asked.start_us is None else base_us + asked.start_us
    end_us = None if asked.end_us is None else base_us + asked.end_us
    if end_us is not None and (end_us > start_us) != (scale > 0):
        if scale > 0 or end_us == start_us:
            raise Refused(457)
        start_us, end_us = end_us, start_us  # written forwards, played backwards
    if scale < 0:
        start_us = min(start_us, window.end_us or start_us)
        ends = [edge for edge in (end_us, window.start_us) if edge is not None]
        return Course(start_us, max(ends, default=None), scale, paced)
    ends = [edge for edge in (end_us, window.end_us) if edge is not None]
    course = Course(max(start_us, window.start_us or start_us), min(ends, default=None), scale, paced)
    if course.is_beyond(course.start_us):
        raise Refused(457)
    return course


def look_up(reader: Reader, request: RecordedRequest) -> Footage:
    """Raises NoFootage when the window holds no picture that can be sent, MediaDbError."""
    leading = request.tracks[0][0]
    last_us = (request.end_us or _FAR_US) - 1
    configs = {}
    for track, kind in request.tracks:
        ref = reader.locate_key(track, last_us, -1)
        if ref is None or (track != leading and request.start_us is not None and ref.end_us < request.start_us):
            continue
        try:
            config = coded_as(reader.table(ref).config, kind)
        except MediaDbError:
            if track == leading:
                raise
            continue  # without sound then: the picture matters
        if config is not None:
            configs[track] = config
    first = reader.locate_key(leading, _BEGINNING_US, 1)
    if leading not in configs or first is None:
        raise NoFootage("nothing is recorded there", camera=request.view.name)
    begin_us = first.recv_us if request.start_us is None else request.start_us
    return Footage(configs, begin_us, reader.durable_us(leading) or begin_us)


def is_recorded(reader: Reader, track: uuid.UUID, time_us: int) -> bool:
    """Does footage cover this instant?"""
    return bool(reader.spans(track, time_us, time_us + 1))
