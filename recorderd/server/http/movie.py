"""A stretch of one stream as one file that is never made, cut to what is durable.

Law: blocking; runs on the volume's read pool, knows no request. Planning and reading are `movie.movie`'s; here is
only what a server adds: the durable end, a quoted ETag, what a plan costs to keep. Called by the media handlers.
"""

from __future__ import annotations

import uuid
from collections.abc import Container
from dataclasses import dataclass

from mediadb.errors import ChunkCorrupt
from mediadb.movie.long_movie import LongMovie, plan_long
from mediadb.movie.movie import Movie, build_movie
from mediadb.movie.row_range import Skipped
from mediadb.read.reader import Reader
from mediadb.types import Cause, Interval, State
from recorderd.core.timerange import HOUR_US, TimeRange

LONG_US = HOUR_US
"""Longer files are fragmented: the header of a plain one would list every sample."""


@dataclass(frozen=True, slots=True)
class ServedMovie:
    """A planned file. `span`: what was asked, `end` cut to what is durable."""

    movie: Movie | LongMovie
    span: TimeRange

    @property
    def etag(self) -> str:
        """Quoted and strong."""
        return f'"{self.movie.etag}"'


def plan_movie(
    reader: Reader, tracks: tuple[uuid.UUID, uuid.UUID], span: TimeRange, doubted: Container[str]
) -> ServedMovie | None:
    """The movie of (video, audio) over `span`, or None when nothing durable is shown in it. Chunks of the segments
    named in `doubted` are checked now, and left out where they are damaged. Raises ChunkCorrupt when only damaged
    footage is there."""
    ends = [end for end in map(reader.durable_us, tracks) if end is not None]
    end_us = min(span.end_us, max(ends, default=span.start_us))
    if end_us <= span.start_us:
        return None
    skipped: list[Skipped] = []
    movie: Movie | LongMovie | None
    if end_us - span.start_us > LONG_US:
        movie = plan_long(reader, tracks, span.start_us, end_us, lambda name: name in doubted, skipped)
    else:
        movie = build_movie(reader, tracks, span.start_us, end_us, lambda ref: ref.name in doubted, skipped)
    damaged = [one.what for one in skipped if one.damaged]
    if movie is None and damaged:
        raise ChunkCorrupt(damaged[0], more=len(damaged) - 1)
    return ServedMovie(movie, TimeRange(span.start_us, end_us)) if movie is not None else None


def damage_of(served: ServedMovie) -> list[Interval]:
    """What the file leaves out because stored bytes fail their checksum, cut to its range."""
    return [
        Interval(
            max(one.start_us, served.span.start_us),
            min(one.end_us, served.span.end_us),
            Cause(State.STORAGE_ERROR, "chunk-damaged", {"track": str(one.track), "what": one.what}),
        )
        for one in served.movie.skipped
        if one.damaged and one.start_us < served.span.end_us and one.end_us > served.span.start_us
    ]
