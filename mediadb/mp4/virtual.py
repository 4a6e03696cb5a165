"""A progressive MP4 that is never made: its length, its header, and where each of its bytes comes from.

Law: computes the layout of `ftyp moov mdat` from track plans and answers `resolve(start, end)` with pieces; never
reads a sample. Equal plans give equal bytes and equal ETags. Called by the HTTP server (Range requests) and by the
export, which write the pieces out one after the other.

Layout: samples of all tracks interleaved by decode time in chunks of one second, video first. Per track at most one
edit list entry (trim inside the GOP, reorder delay, end inside the last picture); a track that has no footage at the
start of the movie is preceded by one empty edit, because lengthening a sample would move sound against picture.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from mediadb.mp4 import tables
from mediadb.mp4.moov import FTYP, Edit, TrackBoxes, moov
from mediadb.mp4.plan import TrackPlan, to_us
from mediadb.mp4.timeline import TrackTable, join_spans, movie_start_us


@dataclass(frozen=True, slots=True)
class ExtentSlice:
    """`length_bytes` of media at byte `offset` of the caller's extent."""

    extent_id: int
    offset: int
    length_bytes: int


Piece = bytes | ExtentSlice


@dataclass(frozen=True, slots=True)
class Anchor:
    """Presentation time `media_us` is wall time `wall_us`; from here on media time runs as the camera counted it,
    until the next anchor. The first anchor may lie before 0: a keyframe that is decoded but not shown."""

    media_us: int
    wall_us: int


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """What a server or an export tells about a track of the file. `anchors`: one per span, in order."""

    kind: str
    timescale: int
    samples: int
    gap_repeats: int  # samples that are in the file once more because a gap lasts over 6 h
    duration_us: int  # presented
    anchors: tuple[Anchor, ...]


class _Stream:
    """The sample bytes of one track as one run of bytes: where each extent begins in it."""

    __slots__ = ("begins", "ids", "offsets")

    def __init__(self, table: TrackTable, positions: array[int]) -> None:
        edges = accumulate(table.extent_counts, initial=0)
        self.begins = array("Q", (positions[edge] for edge in edges))  # one more than extents: the end
        self.ids = table.extent_ids
        self.offsets = table.extent_offsets

    def slices(self, start: int, end: int) -> Iterator[ExtentSlice]:
        number = bisect_right(self.begins, start) - 1
        while start < end:
            stop = min(end, self.begins[number + 1])
            if stop > start:
                yield ExtentSlice(self.ids[number], self.offsets[number] + start - self.begins[number], stop - start)
                start = stop
            number += 1


@dataclass(frozen=True, slots=True)
class _Chunk:
    window: int  # second of the movie: what chunks are interleaved by
    track: int
    samples: int
    entry: int
    begin: int  # in the bytes of its track
    end: int


class VirtualMp4:
    """The file. `head` is everything before the first sample byte; `etag` is strong and comes without quotes.

    `start_us`: wall time of presentation time 0 (X-Start-Time). `duration_us`: of the presentation, gaps included.
    """

    def __init__(self, tracks: Sequence[TrackTable], start_us: int) -> None:
        self.start_us = start_us
        positions = [array("Q", accumulate(table.sizes, initial=0)) for table in tracks]
        chunks = sorted(
            (chunk for number, table in enumerate(tracks) for chunk in _chunks_of(number, table, positions[number])),
            key=lambda chunk: (chunk.window, chunk.track),
        )
        self._streams = [_Stream(table, at) for table, at in zip(tracks, positions, strict=True)]
        self._chunk_track = array("B", (chunk.track for chunk in chunks))
        self._chunk_begin = array("Q", (chunk.begin for chunk in chunks))
        self._chunk_at = array("Q", accumulate((chunk.end - chunk.begin for chunk in chunks), initial=0))
        media_bytes = self._chunk_at[-1]
        self.head, movie_ticks, movie_scale = _head(tracks, chunks, self._chunk_at, media_bytes)
        self.total_bytes = len(self.head) + media_bytes
        self.duration_us = to_us(movie_ticks, movie_scale)
        self.tracks = tuple(_facts(table) for table in tracks)
        self.etag = self._hash(tracks)

    def _hash(self, tracks: Sequence[TrackTable]) -> str:
        digest = hashlib.sha256(self.head)
        digest.update(struct.pack(">qI", self.start_us, len(tracks)))
        for table, stream in zip(tracks, self._streams, strict=True):
            for part in (
                table.plan.spec.identity,
                *(struct.pack(">q", span.wall_start_us) for span in table.plan.spans),
                tables.big_endian(stream.begins),
                tables.big_endian(stream.ids),
                tables.big_endian(stream.offsets),
            ):
                digest.update(struct.pack(">Q", len(part)))
                digest.update(part)
        return digest.hexdigest()[:40]

    def resolve(self, start: int, end: int) -> list[Piece]:
        """The bytes [start, end) of the file as pieces in order. ValueError outside 0..total_bytes.

        Work and answer grow with the number of chunks touched: ask for a few MiB at a time.
        """
        if not 0 <= start <= end <= self.total_bytes:
            raise ValueError(f"bytes {start} to {end} of a file of {self.total_bytes}")
        pieces: list[Piece] = []
        header = len(self.head)
        if start < min(end, header):
            pieces.append(self.head[start:end])
        at, stop = max(start, header) - header, end - header
        number = bisect_right(self._chunk_at, at) - 1
        while at < stop:
            until = min(stop, self._chunk_at[number + 1])
            if until > at:
                begin = self._chunk_begin[number] + at - self._chunk_at[number]
                for piece in self._streams[self._chunk_track[number]].slices(begin, begin + until - at):
                    _join(pieces, piece)
                at = until
            number += 1
        return pieces


def build(plans: Sequence[TrackPlan]) -> VirtualMp4:
    """The virtual file of these tracks, in this order (video first). ValueError without tracks or for a broken plan."""
    if not 0 < len(plans) < 256:
        raise ValueError(f"{len(plans)} tracks: an MP4 of footage has 1 to 255")
    for plan in plans:
        plan.check()
    start_us = movie_start_us(plans)
    return VirtualMp4([join_spans(plan, start_us) for plan in plans], start_us)


def _join(pieces: list[Piece], piece: ExtentSlice) -> None:
    before = pieces[-1] if pieces else b""
    if (
        isinstance(before, ExtentSlice)
        and before.extent_id == piece.extent_id
        and before.offset + before.length_bytes == piece.offset
    ):
        pieces[-1] = ExtentSlice(piece.extent_id, before.offset, before.length_bytes + piece.length_bytes)
    else:
        pieces.append(piece)


def _chunks_of(number: int, table: TrackTable, positions: array[int]) -> Iterator[_Chunk]:
    """Cuts a track into runs of one sample entry inside one second of the movie."""
    scale = table.timescale
    times = array("q", accumulate(table.durations, initial=0))
    shift = table.first_shown - table.late_ticks  # decode time at which the movie starts
    at = 0
    for run, entry in table.entries:
        run_end = at + run
        while at < run_end:
            window = (times[at] - shift) // scale
            stop = bisect_left(times, (window + 1) * scale + shift, at + 1, run_end)
            yield _Chunk(window, number, stop - at, entry, positions[at], positions[stop])
            at = stop


def _head(
    tracks: Sequence[TrackTable], chunks: Sequence[_Chunk], chunk_at: array[int], media_bytes: int
) -> tuple[bytes, int, int]:
    """ftyp, moov and the mdat header; the movie's duration and its timescale."""
    movie_scale = next((table.timescale for table in tracks if table.plan.spec.kind == "video"), 0)
    movie_scale = movie_scale or tracks[0].timescale
    lists = [[chunk for chunk in chunks if chunk.track == number] for number in range(len(tracks))]
    fixed = [_fixed_tables(table, own) for table, own in zip(tracks, lists, strict=True)]
    mdat_head = (
        struct.pack(">I4s", media_bytes + 8, b"mdat")
        if media_bytes + 8 < 1 << 32
        else struct.pack(">I4sQ", 1, b"mdat", media_bytes + 16)
    )
    own_at = [array("Q") for _ in tracks]
    for chunk, at in zip(chunks, chunk_at, strict=False):
        own_at[chunk.track].append(at)

    def movie(base: int, wide: bool) -> tuple[bytes, int]:
        boxes = []
        for number, table in enumerate(tracks):
            offsets = array("Q", (base + at for at in own_at[number]))
            stbl = tables.stbl(table.plan.spec.entries, *fixed[number], tables.chunk_offsets(offsets, wide))
            boxes.append(_track_boxes(number + 1, table, movie_scale, stbl))
        duration = max(track.duration for track in boxes)
        return moov(movie_scale, duration, boxes), duration

    before = len(FTYP) + len(mdat_head)
    header = before + len(movie(0, media_bytes >= 1 << 32)[0])
    wide = header + media_bytes >= 1 << 32
    header = before + len(movie(0, wide)[0]) if wide else header
    built, duration = movie(header, wide)
    return FTYP + built + mdat_head, duration, movie_scale


def _fixed_tables(table: TrackTable, chunks: Sequence[_Chunk]) -> tuple[bytes, ...]:
    """The sample tables that do not depend on where in the file the media lies."""
    return (
        tables.stts(table.durations),
        tables.ctts(table.offsets),
        tables.stss(table.sync),
        tables.stsz(table.sizes),
        tables.stsc([(chunk.samples, chunk.entry) for chunk in chunks]),
    )


def _track_boxes(track_id: int, table: TrackTable, movie_scale: int, stbl: bytes) -> TrackBoxes:
    media_duration = sum(table.durations)
    shown = -((table.first_shown - table.end_shown) * movie_scale // table.timescale)  # rounded up
    late = table.late_ticks * movie_scale // table.timescale
    edits: list[Edit] = []
    if late:
        edits.append(Edit(late, -1))
    if late or table.first_shown or table.end_shown != media_duration:
        edits.append(Edit(shown, table.first_shown))
    spec = table.plan.spec
    return TrackBoxes(
        track_id, spec.kind, spec.timescale, spec.entries, late + shown, media_duration, tuple(edits), stbl
    )


def _facts(table: TrackTable) -> TrackFacts:
    zero = table.first_shown - table.late_ticks
    anchors = tuple(
        Anchor(to_us(shown - zero, table.timescale), span.wall_start_us)
        for shown, span in zip(table.span_shown, table.plan.spans, strict=True)
    )
    planned = sum(len(span.sizes) for span in table.plan.spans)
    return TrackFacts(
        table.plan.spec.kind,
        table.timescale,
        len(table.sizes),
        len(table.sizes) - planned,
        to_us(table.end_shown - table.first_shown, table.timescale),
        anchors,
    )
