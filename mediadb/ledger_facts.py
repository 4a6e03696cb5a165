"""What is known of a track, as plain facts: media spans, lives of runs, transitions, closed statements.

Law: values and the rule that joins spans; no I/O, no clock. `mediadb.read.index` makes spans out of chunk headers,
`mediadb.coverage` the rest out of the ledger, `mediadb.ledger_fold` turns all of it into one state per instant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mediadb.types import Cause, State

PAST_US = -(1 << 62)
FUTURE_US = 1 << 62
NO_MEDIA_TIME = -(1 << 62)
NO_ENTRY = FUTURE_US  # nothing in a stretch stands by itself
LATEST_US = 30_000_000  # a later sample is not merely late: the stream stood still
# Without packet loss a camera may make fewer pictures than it announced (variable frame rate): no statement is due
# for so long, and nothing is missing. The engine states a pause of the camera from 1 s on.
QUIET_US = 1_250_000
BESIDE_US = 2_500_000  # what a join tolerance is worth where nothing proves that samples follow each other
SEGMENT_MISSING = "segment-missing"  # reasons of storage-error: a sealed segment without file or without its bytes
SEGMENT_DAMAGED = "segment-damaged"
STORAGE_MISSING = "storage-missing"  # its volume is not there
CHUNK_DAMAGED = "chunk-damaged"  # and bytes inside a whole file that do not verify
UNKNOWN_TOLERANCE_US = 500_000  # join tolerance of a track whose frame interval is not known


@dataclass(frozen=True, slots=True)
class MediaSpan:
    """A gapless stretch of media of one track. Sequence numbers are of chunks, [first_seq, end_seq).

    `lost_before` are the packets lost directly before its first sample; `lane` is "" for live media, else the
    origin word. `seam` is set when media time does not continue from what came before. `media_start_us` and
    `media_end_us` are the same stretch on the track's own media clock (no epoch), NO_MEDIA_TIME when unknown: a
    sample that was merely late on the network continues there although it does not in receive time. `interval_us` is
    the nominal distance of its samples where it ends, `lead_us` where it begins; 0 when unknown. `clock` is how often
    the recorder's clock had been set in that run.

    `entry_us` is where a decoder may first begin in it (NO_ENTRY: nowhere); what is before that refers to the chunk in
    front of `after_seq`: `first_seq`, less the statements that lie directly before it. `headless`: that chunk is gone,
    as `mediadb.read.heads` found.
    """

    start_us: int
    end_us: int
    run: int = 0
    first_seq: int = 0
    end_seq: int = 0
    lost_packets: int = 0
    damaged_samples: int = 0
    lost_before: int = 0
    lane: str = ""
    seam: bool = False
    media_start_us: int = NO_MEDIA_TIME
    media_end_us: int = NO_MEDIA_TIME
    interval_us: int = 0
    lead_us: int = 0
    clock: int = 0
    entry_us: int = PAST_US
    after_seq: int = 0
    headless: bool = False

    @property
    def shown_us(self) -> int:
        """From when on it can be shown; `end_us` when never."""
        return min(max(self.start_us, self.entry_us), self.end_us) if self.headless else self.start_us

    @property
    def sure_us(self) -> int:
        """Where it ends whatever else is known: the last sample of a slow camera stands until the next one is due, but
        not against the word that the camera or the recorder was gone by then."""
        if self.interval_us <= QUIET_US:
            return self.end_us
        return max(self.start_us, self.end_us - self.interval_us)


@dataclass(frozen=True, slots=True)
class RunLife:
    """Life of one writing process: `end_us` is its clean stop or its last sign of life; None while it lives. `steps`
    of the recorder's clock in its life, in order: (what it would have shown, what it was set to)."""

    run: int
    start_us: int
    end_us: int | None
    clean: bool = False
    steps: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Transition:
    """From `time_us` on `cause` holds, until the next transition or the end of `run`. `order` breaks ties; `clock` is
    how often the recorder's clock had been set in that run: times before and after a step are not compared."""

    time_us: int
    cause: Cause
    run: int = 0
    order: int = 0
    clock: int = 0


@dataclass(frozen=True, slots=True)
class Statement:
    """A closed interval with a cause: a gap the recorder stated, or a removal and its rule. `run` and `clock` as of a
    Transition, run 0 when it is of no one run."""

    start_us: int
    end_us: int
    cause: Cause
    order: int = 0
    run: int = 0
    clock: int = 0


@dataclass(frozen=True, slots=True)
class FoldInput:
    """All that is known of one track. `now_us` bounds what can have happened at all.

    `media` may be cut to a part of time; then `known_since_us` (first media ever) and `filmed` (runs with media of
    the track) say what the rest would. `lost` are extents of sealed segments that are not there, or not whole: what
    nothing finer explains inside them belongs to their loss or their removal. `damaged` are chunks that are there and
    do not verify: no media, whatever the index says. `troubles` are times in which the storage took nothing: what was
    only claimed near them never reached it.
    """

    now_us: int
    media: Sequence[MediaSpan] = ()
    runs: Sequence[RunLife] = ()
    transitions: Sequence[Transition] = ()
    gaps: Sequence[Statement] = ()
    removed: Sequence[Statement] = ()
    tolerance_us: int = UNKNOWN_TOLERANCE_US
    known_since_us: int = FUTURE_US
    filmed: frozenset[int] = frozenset()
    lost: Sequence[Statement] = ()
    damaged: Sequence[Statement] = ()
    troubles: Sequence[Statement] = ()


def is_gone(cause: Cause) -> bool:
    """True for footage that was there once: removed by a rule, or a sealed segment lost."""
    return cause.state in (State.DELETED, State.GROOMED) or cause.reason in (SEGMENT_MISSING, SEGMENT_DAMAGED)


def nominal_tolerance_us(frame_us: float) -> int:
    """How far the next sample may be from the end of the one before and still be gapless: 2.5 intervals."""
    return round(frame_us * 2.5) if frame_us > 0 else UNKNOWN_TOLERANCE_US


def join_spans(spans: Iterable[MediaSpan], tolerance_us: int) -> list[MediaSpan]:
    """Merge spans of one track that continue each other: same run and lane, next sequence, near in time.

    Damaged and undamaged stretches stay apart, so that the qualifier names the time it belongs to.
    """
    joined: list[MediaSpan] = []
    for span in sorted(spans, key=_span_key):
        last = joined[-1] if joined else None
        if last is not None and _continues(last, span, tolerance_us):
            joined[-1] = MediaSpan(
                last.start_us,
                max(last.sure_us, span.end_us),
                last.run,
                last.first_seq,
                span.end_seq,
                last.lost_packets + span.lost_packets,
                last.damaged_samples + span.damaged_samples,
                last.lost_before,
                last.lane,
                last.seam,
                last.media_start_us,
                span.media_end_us,
                span.interval_us,
                last.lead_us,
                last.clock,
                last.entry_us if last.entry_us != NO_ENTRY else span.entry_us,
                last.after_seq,
                last.headless,
            )
        else:
            if last is not None and last.sure_us < last.end_us and last.lane == span.lane:
                joined[-1] = replace(last, end_us=min(last.end_us, max(last.sure_us, span.start_us)))
            joined.append(span)
    return joined


def _span_key(span: MediaSpan) -> tuple[object, ...]:
    """A total order, so that the answer never depends on the order of arrival."""
    return (
        span.lane,
        span.start_us,
        -span.end_us,
        span.run,
        span.first_seq,
        span.end_seq,
        span.lost_packets,
        span.damaged_samples,
        span.lost_before,
        span.seam,
        span.media_start_us,
        span.media_end_us,
        span.interval_us,
        span.lead_us,
        span.clock,
        span.entry_us,
        span.after_seq,
        span.headless,
    )


def _continues(last: MediaSpan, span: MediaSpan, tolerance_us: int) -> bool:
    return follows(last, span, tolerance_us) and is_damaged(last) == is_damaged(span)


def follows(last: MediaSpan, span: MediaSpan, tolerance_us: int) -> bool:
    """No chunk is missing between the two, and either clock says that no sample is."""
    if (
        (last.run, last.clock) != (span.run, span.clock)
        or last.lane != span.lane
        or last.end_seq != span.first_seq
        or span.seam
    ):
        return False
    tolerance_us = pair_tolerance_us(last, span, tolerance_us)
    wait = span.start_us - last.end_us
    if wait <= (tolerance_us if span.lost_before else max(tolerance_us, QUIET_US)):
        return True
    if NO_MEDIA_TIME in (last.media_end_us, span.media_start_us):
        return False
    return wait <= LATEST_US and abs(span.media_start_us - last.media_end_us) <= tolerance_us


def pair_tolerance_us(last: MediaSpan | None, coming: MediaSpan | None, tolerance_us: int) -> int:
    """The join tolerance between two spans: `tolerance_us`, or more when either side has its samples further apart."""
    interval_us = max(last.interval_us if last is not None else 0, coming.lead_us if coming is not None else 0)
    return max(tolerance_us, nominal_tolerance_us(interval_us)) if interval_us else tolerance_us


def is_damaged(span: MediaSpan) -> bool:
    """True when packets of its samples were lost."""
    return bool(span.lost_packets or span.damaged_samples)
