"""What /recorded/CAMERA asks for, and what the database knows about it: formats and limits.

Law: `look_up` blocks and runs on the volume's read pool; everything else is plain values. Called by the recorded mount.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mediadb.errors import MediaDbError
from mediadb.reader import Reader
from mediadb.types import TrackKind
from recorderd.engine.views import CameraView
from recorderd.media.access_unit import CodecConfig
from recorderd.server.rtsp.formats import coded_as
from recorderd.services.playback.types import Gaps, NoFootage

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
