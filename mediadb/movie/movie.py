"""Recorded footage of some tracks and a range as one virtual MP4.

Law: reads frame tables only, and the payloads the caller doubts; sample bytes are fetched chunk by chunk when asked
for, through the reader, checked. Equal footage gives equal bytes. Used by the export and by whoever serves ranges of
`media.mp4`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from mediadb.errors import ChunkCorrupt, ChunkError
from mediadb.movie.left_out import fits_movie
from mediadb.movie.row_range import Skipped, behind_missing
from mediadb.mp4.plan import ChunkSamples, TrackBuilder, TrackPlan, TrackSpec
from mediadb.mp4.virtual import TrackFacts, VirtualMp4, build
from mediadb.read.chunks import ChunkRef, ChunkTable
from mediadb.read.part import ENTRY_KINDS, coding_tolerance_us
from mediadb.read.reader import Reader
from mediadb.types import TrackConfig, TrackKind

PIECE_BYTES: Final = 1 << 20
Doubt = Callable[[ChunkRef], bool]


@dataclass(frozen=True, slots=True)
class Movie:
    """A virtual file and the chunks its extents are: extent number n is `refs[n]`."""

    file: VirtualMp4
    refs: list[ChunkRef]
    tracks: list[uuid.UUID]
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def etag(self) -> str:
        return self.file.etag

    @property
    def total_bytes(self) -> int:
        return self.file.total_bytes

    @property
    def start_us(self) -> int:
        """Wall time of presentation time 0."""
        return self.file.start_us

    @property
    def duration_us(self) -> int:
        return self.file.duration_us

    @property
    def facts(self) -> tuple[TrackFacts, ...]:
        """What is to be told of the tracks, in their order."""
        return self.file.tracks

    @property
    def cost_bytes(self) -> int:
        """About how much memory the plan holds."""
        return len(self.file.head) + sum(track.samples for track in self.facts) * 40 + len(self.refs) * 500

    def read(self, reader: Reader, start: int, end: int) -> Iterator[bytes | memoryview]:
        """Bytes [start, end) in pieces, views into checked chunks. Raises as `Reader.read`: never other bytes than
        promised."""
        for at in range(start, end, PIECE_BYTES):
            for piece in self.file.resolve(at, min(at + PIECE_BYTES, end)):
                if isinstance(piece, bytes):
                    yield piece
                else:
                    yield reader.read_view(self.refs[piece.extent_id], piece.offset, piece.length_bytes)


def build_movie(
    reader: Reader,
    tracks: Sequence[uuid.UUID],
    start_us: int,
    end_us: int,
    doubt: Doubt = lambda _: False,
    skipped: list[Skipped] | None = None,
) -> Movie | None:
    """The movie of [start_us, end_us), video tracks first; None when no sample is shown in it.

    A chunk that cannot be read is left out with what refers to it (a gap, named in `skipped`, which is filled even
    when nothing is left to show); so is what refers to a chunk that is gone. Payloads of chunks for which `doubt` holds
    are checked now; the others when their bytes are asked for. Raises ValueError for an empty range.
    """
    refs: list[ChunkRef] = []
    skipped = [] if skipped is None else skipped
    planned: list[tuple[int, uuid.UUID, TrackPlan]] = []
    for track in tracks:
        laid = _Laid(reader, track, refs, skipped).lay(start_us, end_us, doubt)
        if laid is not None:
            kind, plan = laid
            planned.append((kind, track, plan))
    if not planned:
        return None
    planned.sort(key=lambda item: item[0])
    file = build([plan for _, _, plan in planned])
    return Movie(file, refs, [track for _, track, _ in planned], skipped)


class _Laid:
    """One track on its way into a plan."""

    def __init__(self, reader: Reader, track: uuid.UUID, refs: list[ChunkRef], skipped: list[Skipped]) -> None:
        self._reader, self._track, self._refs, self._skipped = reader, track, refs, skipped
        self._entries: dict[bytes, int] = {}
        self._boxes: list[bytes] = []
        self._scale = 0
        self._last: tuple[ChunkRef, int, int] | None = None  # chunk before, dts at which it ends, its tolerance

    def lay(self, start_us: int, end_us: int, doubt: Doubt) -> tuple[int, TrackPlan] | None:
        tables = [
            (ref, table)
            for ref, table in self._tables(start_us, end_us, doubt)
            if fits_movie(table.spec.kind, table.config)
        ]
        if not tables:
            return None
        first, last = tables[0][1], tables[-1][1]
        kind = first.spec.kind
        for _, table in tables:
            self._learn(table.config)
        spec = TrackSpec(
            "video" if kind is TrackKind.VIDEO else "audio",
            self._scale,
            tuple(self._boxes),
            last.config.frame_ticks * self._scale // (last.config.timebase_hz or 1),
            self._track.bytes,
        )
        builder = TrackBuilder(spec, start_us, end_us)
        for ref, table in tables:
            builder.add(self._chunk(ref, table))
        plan = builder.plan()
        return (int(kind), plan) if plan is not None else None

    def _tables(self, start_us: int, end_us: int, doubt: Doubt) -> Iterator[tuple[ChunkRef, ChunkTable]]:
        decodable = False
        missing: Skipped | None = None  # grows up to the next keyframe: what follows refers to what is missing
        before: ChunkRef | None = None
        for ref in self._reader.chunks(self._track, start_us, end_us):
            is_entry = ref.kind in ENTRY_KINDS
            if decodable and not is_entry and before is not None and not self._reader.follows(before, ref):
                missing = behind_missing(ref)
                self._skipped.append(missing)
                decodable = False
            before = ref
            decodable = decodable or is_entry
            if not decodable:
                if missing is not None:
                    missing.end_us = max(missing.end_us, ref.end_us)
                continue
            try:
                table = self._reader.table(ref)
                if doubt(ref):
                    self._reader.read_range(ref, 0, 0)
            except ChunkError as error:
                damaged = isinstance(error, ChunkCorrupt)
                missing = Skipped(self._track, ref.recv_us, ref.end_us, damaged, error.message)
                self._skipped.append(missing)
                decodable = False
                continue
            if table.config.timebase_hz:
                yield ref, table

    def _learn(self, config: TrackConfig) -> None:
        self._scale = self._scale or config.timebase_hz
        if config.sample_entry not in self._entries:
            self._entries[config.sample_entry] = len(self._boxes)
            self._boxes.append(config.sample_entry)

    def _chunk(self, ref: ChunkRef, table: ChunkTable) -> ChunkSamples:
        header, rows, hz = table.header, table.table, table.config.timebase_hz
        base, scale = header.base_dts, self._scale
        dts: Sequence[int] = [base + distance for distance in rows.dts]
        pts: Sequence[int] = [d + c for d, c in zip(dts, rows.cts, strict=True)]
        if hz != scale:
            dts, pts = [d * scale // hz for d in dts], [p * scale // hz for p in pts]
        tolerance = coding_tolerance_us(table.config) * scale // 1_000_000
        new_span = self._breaks(ref, dts[0], tolerance)
        self._last = (ref, dts[0] + ref.row.duration_us * scale // 1_000_000, tolerance)
        self._refs.append(ref)
        shown_after = (pts[0] - dts[0]) * 1_000_000 // scale
        return ChunkSamples(
            extent_id=len(self._refs) - 1,
            extent_offset=0,
            wall_us=header.recv_us + shown_after,
            sizes=rows.sizes,
            dts=dts,
            pts=pts,
            key=ref.kind in ENTRY_KINDS,
            entry=self._entries[table.config.sample_entry],
            new_span=new_span,
        )

    def _breaks(self, ref: ChunkRef, dts: int, tolerance: int) -> bool:
        """Does media time not continue from the chunk before?"""
        if self._last is None or ref.discontinuity:
            return True
        before, end, tolerance_before = self._last
        tolerance = max(tolerance, tolerance_before)
        same = (before.run, before.lane) == (ref.run, ref.lane)
        return not same or not -tolerance <= dts - end <= tolerance
