"""What a virtual MP4 is made of: tracks as spans of samples, and where their bytes live.

Law: plain columns in `array` form, no bytes of media, no clock. A `Span` is footage without a gap inside one clock
run; wall time enters only at its start. Export and the HTTP server fill a `TrackBuilder` from their index, chunk by
chunk, and hand the finished `TrackPlan`s to `mediadb.mp4.virtual.build`.

    builder = TrackBuilder(TrackSpec("video", 90_000, (entry,), identity=track_uuid), start_us, end_us)
    for chunk in index:                      # from the keyframe at or before start_us
        builder.add(ChunkSamples(...))
    movie = build([plan for plan in (builder.plan(), ...) if plan])
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

Kind = Literal["video", "audio"]


@dataclass(frozen=True, slots=True)
class TrackSpec:
    """What does not change along a track.

    `timescale`: the stream's timebase in Hz. `entries`: whole sample entry boxes (`mediadb.mp4.entries`), one per
    configuration. `nominal_ticks`: how long the very last sample lasts; 0 = as long as the one before it.
    `identity`: bytes that pin whose footage this is (track UUID); part of the ETag.
    """

    kind: Kind
    timescale: int
    entries: tuple[bytes, ...]
    nominal_ticks: int = 0
    identity: bytes = b""

    def __post_init__(self) -> None:
        if not 0 < self.timescale < 1 << 31 or not self.entries:
            raise ValueError("a track needs a timescale in Hz and at least one sample entry")


@dataclass(frozen=True, slots=True)
class Span:
    """Gapless footage, in columns of one row per sample in decode order.

    `wall_start_us`: recorder UTC at which the *first* sample is shown. `deltas[i]` = dts[i+1] - dts[i] in ticks, so
    one row fewer than `sizes`. `offsets[i]` = pts - dts in ticks. `sync[i]`: 1 when a decoder may start here.
    `entries`: (samples, index into TrackSpec.entries) runs. The sample bytes, in order, are the extents: `extent_ids`
    are opaque 64-bit numbers of the caller that name immutable bytes, `extent_offsets` the byte in that extent at
    which the first sample begins, `extent_counts` how many samples follow each other there.
    """

    wall_start_us: int
    sizes: array[int] = field(default_factory=lambda: array("I"))
    deltas: array[int] = field(default_factory=lambda: array("I"))
    offsets: array[int] = field(default_factory=lambda: array("i"))
    sync: bytearray = field(default_factory=bytearray)
    entries: list[tuple[int, int]] = field(default_factory=list)
    extent_ids: array[int] = field(default_factory=lambda: array("Q"))
    extent_offsets: array[int] = field(default_factory=lambda: array("Q"))
    extent_counts: array[int] = field(default_factory=lambda: array("I"))

    def check(self, spec: TrackSpec) -> None:
        """ValueError when the columns do not belong together: a mistake of the caller, not of a file."""
        count = len(self.sizes)
        if not count or len(self.deltas) != count - 1 or len(self.offsets) != count or len(self.sync) != count:
            raise ValueError("span columns differ in length or are empty")
        if sum(run for run, _ in self.entries) != count or sum(self.extent_counts) != count:
            raise ValueError("entry runs or extents of a span do not cover its samples")
        if any(not 0 <= entry < len(spec.entries) for _, entry in self.entries):
            raise ValueError("a span names a sample entry that its track does not have")


@dataclass(frozen=True, slots=True)
class TrackPlan:
    """One track of a file to be.

    `spans` in decode order. `head_ticks`: presentation starts this long after the first sample of the first span is
    shown (trim inside the GOP). `tail_ticks`: it ends this long after the first sample of the *last* span is shown.
    """

    spec: TrackSpec
    spans: tuple[Span, ...]
    head_ticks: int
    tail_ticks: int

    def check(self) -> None:
        """ValueError when the plan contradicts itself."""
        if not self.spans or self.head_ticks < 0:
            raise ValueError("a track plan needs a span and cannot start before it")
        for span in self.spans:
            span.check(self.spec)


@dataclass(frozen=True, slots=True)
class ChunkSamples:
    """Samples that lie behind one another in one extent.

    `wall_us`: recorder UTC at which the first of them is shown. `dts`, `pts` in ticks of the track's timescale.
    `key`: every sample of this chunk is a sync sample (a keyframe alone, all-intra video, audio); else none is.
    `new_span`: media time does not continue from the chunk before (gap, reconnect, clock run).
    """

    extent_id: int
    extent_offset: int
    wall_us: int
    sizes: Sequence[int]
    dts: Sequence[int]
    pts: Sequence[int]
    key: bool
    entry: int = 0
    new_span: bool = False


def to_ticks(duration_us: int, timescale: int) -> int:
    """Microseconds as ticks, rounded to the nearest."""
    return (2 * duration_us * timescale + 1_000_000) // 2_000_000


def to_us(ticks: int, timescale: int) -> int:
    """Ticks as microseconds, rounded to the nearest."""
    return (2 * ticks * 1_000_000 + timescale) // (2 * timescale)


class TrackBuilder:
    """Cuts a stream of chunks to [start_us, end_us) and turns it into a `TrackPlan`.

    Feed chunks in decode order, beginning at or before the newest sync sample at or before `start_us`; chunks from
    before that are dropped again, so feeding too early costs time only. A sample belongs to the range by the wall
    time of its chunk plus its distance to the chunk's first sample, so drift of the camera clock never moves the cut.
    """

    def __init__(self, spec: TrackSpec, start_us: int, end_us: int) -> None:
        if start_us >= end_us:
            raise ValueError("an empty range of time has no samples")
        self._spec = spec
        self._start_us = start_us
        self._end_us = end_us
        self._spans: list[_OpenSpan] = []

    def add(self, chunk: ChunkSamples) -> None:
        """Appends one chunk. ValueError when dts falls inside a span or a value does not fit an MP4 table."""
        if not chunk.sizes:
            return
        scale = self._spec.timescale
        first_shown = chunk.pts[0] + to_ticks(self._start_us - chunk.wall_us, scale)
        first_hidden = chunk.pts[0] + to_ticks(self._end_us - chunk.wall_us, scale)
        if chunk.key and chunk.wall_us <= self._start_us:
            chunk = self._from_last_key(chunk, first_shown)
            self._spans.clear()
        if chunk.new_span or not self._spans:
            self._spans.append(_OpenSpan(chunk, first_shown))
        self._spans[-1].add(chunk, first_shown, first_hidden)

    def _from_last_key(self, chunk: ChunkSamples, first_shown: int) -> ChunkSamples:
        """`chunk` from the last of its sync samples that is shown at or before the start of the range."""
        skip = 0
        while skip + 1 < len(chunk.pts) and chunk.pts[skip + 1] <= first_shown:
            skip += 1
        if not skip:
            return chunk
        return ChunkSamples(
            chunk.extent_id,
            chunk.extent_offset + sum(chunk.sizes[:skip]),
            chunk.wall_us + to_us(chunk.pts[skip] - chunk.pts[0], self._spec.timescale),
            chunk.sizes[skip:],
            chunk.dts[skip:],
            chunk.pts[skip:],
            chunk.key,
            chunk.entry,
            chunk.new_span,
        )

    def plan(self) -> TrackPlan | None:
        """The plan, or None when no sample is shown inside the range. The builder is spent afterwards."""
        spans = self._spans
        while spans and not spans[-1].kept:
            spans.pop()
        while spans and spans[0].first_shown is None:
            del spans[0]  # its samples begin before the range, with a gap behind them
        if not spans:
            return None
        for span in spans[:-1]:
            span.truncate(len(span.span.sizes))
        last = spans[-1]
        last.truncate(last.kept)
        nominal = self._spec.nominal_ticks or last.last_delta() or self._spec.timescale // 25
        first = spans[0]
        # Pictures are whole; sound is cut to the very start, inside the sample that lasts over it.
        begin = first.first_shown if self._spec.kind == "video" else first.range_start
        head = (begin or 0) - first.first_pts
        assert last.last_shown is not None  # kept > 0 means that a sample is shown before the end
        length = max(1, min(nominal, last.shown_limit - last.last_shown))
        tail = last.last_shown - last.first_pts + length
        return TrackPlan(self._spec, tuple(span.span for span in spans), max(0, head), tail)


class _OpenSpan:
    """A span while it grows, with what its cut needs to know."""

    __slots__ = ("first_pts", "first_shown", "kept", "last_dts", "last_shown", "range_start", "shown_limit", "span")

    def __init__(self, chunk: ChunkSamples, range_start: int) -> None:
        self.span = Span(chunk.wall_us)
        self.range_start = range_start  # in this span's media time
        self.first_pts = chunk.pts[0]
        self.last_dts: int | None = None
        self.kept = 0  # samples up to the last one that is shown before the range ends
        self.first_shown: int | None = None
        self.last_shown: int | None = None
        self.shown_limit = 0  # the end of the range in this span's media time, by the newest chunk's wall time

    def add(self, chunk: ChunkSamples, first_shown: int, first_hidden: int) -> None:
        span = self.span
        dts, pts = chunk.dts, chunk.pts
        if not len(dts) == len(pts) == len(chunk.sizes):
            raise ValueError("chunk columns differ in length")
        try:
            if self.last_dts is not None:
                span.deltas.append(dts[0] - self.last_dts)
            span.deltas.extend([after - before for before, after in pairwise(dts)])
            if pts == dts:
                span.offsets.frombytes(bytes(len(pts) * span.offsets.itemsize))
            else:
                span.offsets.extend([shown - decoded for shown, decoded in zip(pts, dts, strict=True)])
            span.sizes.extend(chunk.sizes)
        except OverflowError as error:
            raise ValueError(f"chunk at {chunk.wall_us} us: decode time runs backwards or too far") from error
        count = len(dts)
        span.sync.extend((b"\x01" if chunk.key else b"\x00") * count)
        _extend_run(span.entries, count, chunk.entry)
        span.extent_ids.append(chunk.extent_id)
        span.extent_offsets.append(chunk.extent_offset)
        span.extent_counts.append(count)
        self.last_dts = dts[-1]
        self._note_shown(pts, first_shown, first_hidden)

    def _note_shown(self, pts: Sequence[int], first_shown: int, first_hidden: int) -> None:
        lowest, highest = min(pts), max(pts)
        if lowest >= first_hidden:
            return
        if highest >= first_shown and (self.first_shown is None or lowest < self.first_shown):
            seen = () if self.first_shown is None else (self.first_shown,)
            shown = [p for p in pts if first_shown <= p < first_hidden]
            self.first_shown = min((*shown, *seen), default=None)
        total, count = len(self.span.sizes), len(pts)
        if highest >= first_hidden:
            while pts[count - 1] >= first_hidden:
                count -= 1
            highest = max(p for p in pts if p < first_hidden)
        self.kept = total - (len(pts) - count)
        if self.last_shown is None or highest > self.last_shown:
            self.last_shown = highest
            self.shown_limit = first_hidden

    def last_delta(self) -> int:
        return self.span.deltas[-1] if self.span.deltas else 0

    def truncate(self, count: int) -> None:
        """Keeps the first `count` samples."""
        span = self.span
        excess = len(span.sizes) - count
        if excess <= 0:
            return
        for column in (span.sizes, span.offsets, span.sync):
            del column[count:]
        del span.deltas[count - 1 :]
        _cut_runs(span.entries, excess)
        while excess:
            if span.extent_counts[-1] > excess:
                span.extent_counts[-1] -= excess
                return
            excess -= span.extent_counts.pop()
            span.extent_ids.pop()
            span.extent_offsets.pop()


def _extend_run(runs: list[tuple[int, int]], count: int, entry: int) -> None:
    if runs and runs[-1][1] == entry:
        runs[-1] = (runs[-1][0] + count, entry)
    else:
        runs.append((count, entry))


def _cut_runs(runs: list[tuple[int, int]], excess: int) -> None:
    while excess:
        count, entry = runs.pop()
        if count > excess:
            runs.append((count - excess, entry))
            return
        excess -= count
