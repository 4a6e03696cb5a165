"""A stretch of one stream as one file that is never made, cut to what is durable.

Law: blocking; runs on the volume's read pool, knows no request. Planning and reading are `mediadb.movie`'s; here is
only what a server adds: the durable end, a quoted ETag, what a plan costs to keep. Called by the media handlers.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from mediadb.movie import Movie, build_movie
from mediadb.mp4.virtual import VirtualMp4
from mediadb.reader import Reader
from recorderd.core.timerange import TimeRange


@dataclass(frozen=True, slots=True)
class ServedMovie:
    """A planned file. `span`: what was asked, `end` cut to what is durable."""

    movie: Movie
    span: TimeRange

    @property
    def file(self) -> VirtualMp4:
        return self.movie.file

    @property
    def etag(self) -> str:
        """Quoted and strong."""
        return f'"{self.movie.etag}"'

    @property
    def cost_bytes(self) -> int:
        """About how much memory the plan holds."""
        samples = sum(track.samples for track in self.file.tracks)
        return len(self.file.head) + samples * 40 + len(self.movie.refs) * 500


def plan_movie(reader: Reader, tracks: tuple[uuid.UUID, uuid.UUID], span: TimeRange) -> ServedMovie | None:
    """The movie of (video, audio) over `span`, or None when nothing durable is shown in it."""
    ends = [end for end in map(reader.durable_us, tracks) if end is not None]
    end_us = min(span.end_us, max(ends, default=span.start_us))
    if end_us <= span.start_us:
        return None
    movie = build_movie(reader, tracks, span.start_us, end_us)
    return ServedMovie(movie, TimeRange(span.start_us, end_us)) if movie is not None else None


def read_bytes(reader: Reader, served: ServedMovie, start: int, end: int) -> bytes:
    """Bytes [start, end) of the file. Raises ChunkGone, ChunkCorrupt: never other bytes."""
    return b"".join(served.movie.read(reader, start, end))
