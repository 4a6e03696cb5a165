"""A stretch of one stream as one MP4 that is never made: planned from chunk headers, read in pieces.

Law: blocking; runs on the volume's read pool, knows no request. `plan_movie` reads headers and frame tables only, a
piece of media is read when its bytes are asked for. Called by the media handlers.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mediadb.frame_rows import chunk_config, frame_rows
from mediadb.mp4.plan import ChunkSamples, TrackBuilder, TrackPlan, TrackSpec, to_us
from mediadb.mp4.plan import Kind as MediaKind
from mediadb.mp4.virtual import VirtualMp4, build
from mediadb.reader import ChunkRef, Reader
from mediadb.types import Kind, TrackConfig
from recorderd.core.timerange import SECOND_US, TimeRange
from recorderd.server.http.problems import HttpRefusal

SYNC_KINDS = frozenset({Kind.KEY, Kind.INTRA, Kind.AUDIO})
MEDIA_KINDS = (Kind.KEY, Kind.DELTA, Kind.INTRA, Kind.AUDIO)
GAP_US = SECOND_US
"""A pause that long between two chunks ties media time to wall time again, whether or not the driver flagged it."""


@dataclass(frozen=True, slots=True)
class Movie:
    """The file and the chunks its bytes come from. `span`: what was asked, `end` cut to what is durable; `tracks`:
    (kind, track) in the order of `file.tracks`."""

    file: VirtualMp4
    extents: Mapping[int, ChunkRef]
    span: TimeRange
    tracks: tuple[tuple[MediaKind, uuid.UUID], ...]

    @property
    def etag(self) -> str:
        """Quoted and strong."""
        return f'"{self.file.etag}"'

    @property
    def cost_bytes(self) -> int:
        """About how much memory the plan holds."""
        samples = sum(track.samples for track in self.file.tracks)
        return len(self.file.head) + samples * 40 + len(self.extents) * 500


def plan_movie(reader: Reader, tracks: tuple[uuid.UUID, uuid.UUID], span: TimeRange) -> Movie | None:
    """The movie of (video, audio) over `span` with its end cut to the durable watermark, or None when nothing is
    recorded in it. Raises HttpRefusal (media-mixed) when a track changes its timebase inside the span, ChunkGone
    when footage is being reclaimed right now."""
    ends = [end for end in map(reader.durable_us, tracks) if end is not None]
    span = TimeRange(span.start_us, max(span.start_us, min(span.end_us, max(ends, default=span.start_us))))
    if not span.duration_us:
        return None
    extents: dict[int, ChunkRef] = {}
    plans: list[TrackPlan] = []
    used: list[tuple[MediaKind, uuid.UUID]] = []
    kinds: tuple[MediaKind, MediaKind] = ("video", "audio")
    for kind, track in zip(kinds, tracks, strict=True):
        plan = _plan_track(reader, track, kind, span, extents)
        if plan is not None:
            plans.append(plan)
            used.append((kind, track))
    return Movie(build(plans), extents, span, tuple(used)) if plans else None


def read_bytes(reader: Reader, movie: Movie, start: int, end: int) -> bytes:
    """Bytes [start, end) of the file. Raises ChunkGone, ChunkCorrupt: never other bytes."""
    parts = []
    for piece in movie.file.resolve(start, end):
        if isinstance(piece, bytes):
            parts.append(piece)
        else:
            parts.append(reader.read_range(movie.extents[piece.extent_id], piece.offset, piece.length_bytes))
    return b"".join(parts)


def _plan_track(
    reader: Reader, track: uuid.UUID, kind: MediaKind, span: TimeRange, extents: dict[int, ChunkRef]
) -> TrackPlan | None:
    refs = list(reader.chunks(track, span.start_us, span.end_us, MEDIA_KINDS))
    if not refs:
        return None
    configs = _configs(reader, refs)
    spec = _spec(list(configs.values()), track, kind)
    numbers = {found: number for number, found in enumerate(configs)}
    builder = TrackBuilder(spec, span.start_us, span.end_us)
    before: ChunkRef | None = None
    last_dts = 0
    for ref in refs:
        rows = frame_rows(reader, ref)
        extent = _extent_id(ref)
        extents[extent] = ref
        builder.add(
            ChunkSamples(
                extent_id=extent,
                extent_offset=0,
                wall_us=ref.recv_us + to_us(rows.pts[0] - rows.dts[0], spec.timescale),
                sizes=rows.sizes,
                dts=rows.dts,
                pts=rows.pts,
                key=ref.kind in SYNC_KINDS,
                entry=numbers[ref.config_hash],
                new_span=before is not None and (_breaks(before, ref) or rows.dts[0] < last_dts),
            )
        )
        before, last_dts = ref, rows.dts[-1]
    return builder.plan()


def _configs(reader: Reader, refs: Sequence[ChunkRef]) -> dict[bytes, TrackConfig]:
    """Every configuration that the chunks were coded with, by hash, in order of first use."""
    found: dict[bytes, TrackConfig] = {}
    for ref in refs:
        if ref.config_hash not in found:
            found[ref.config_hash] = chunk_config(reader, ref)
    return found


def _spec(configs: Sequence[TrackConfig], track: uuid.UUID, kind: MediaKind) -> TrackSpec:
    timescale = configs[0].timebase_hz
    if any(config.timebase_hz != timescale or config.codec != configs[0].codec for config in configs):
        raise HttpRefusal(
            "media-mixed",
            "the codec or timebase changes inside this range; ask for the parts before and after the change",
            codecs=[config.codec for config in configs],
        )
    entries = tuple(config.sample_entry for config in configs)
    return TrackSpec(kind, timescale, entries, configs[-1].frame_ticks, track.bytes)


def _breaks(before: ChunkRef, ref: ChunkRef) -> bool:
    """Whether media time does not continue from the chunk before."""
    return (
        ref.discontinuity
        or (ref.lane, ref.run, ref.row.clock_run) != (before.lane, before.run, before.row.clock_run)
        or ref.recv_us - before.end_us >= GAP_US
    )


def _extent_id(ref: ChunkRef) -> int:
    """A number for the chunk's bytes that holds wherever they lie: of its identity, not of its place."""
    name = ref.track.bytes + ref.lane.encode() + b"%d/%d" % (ref.run, ref.seq)
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
