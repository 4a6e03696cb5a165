"""From spans to one track table: where media time is tied to wall time, and how long each sample lasts.

Law: inside a span durations are the exact media deltas. Only where a span begins is media time tied to wall time
again: the last sample before it lasts until there (a gap is a long duration, never an edit list entry). Where drift
makes spans overlap, the last sample keeps a little over half its usual duration (less, and players that count in
frames put two pictures on one instant and complain) and the span moves back by no more than that. Called by
`virtual` only.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add

from mediadb.mp4.plan import Span, TrackPlan, to_ticks, to_us

LONGEST_SAMPLE_S = 6 * 3600
"""A longer gap is split: at 90 kHz this stays inside a signed 32-bit duration. What is repeated is the last sync
sample: a P or B picture decoded twice is a wrong picture in H.264 and an error in H.265 (duplicate POC)."""


@dataclass(slots=True)
class TrackTable:
    """All samples of a track, spans joined; decode time of the first sample is 0.

    `durations`: how long each lasts in decode time. `entries`: (samples, entry) runs. Extents as in `Span`, gap
    repeats included. `span_shown`: pts of the first sample of each span. `first_shown`/`end_shown`: media time (pts)
    of the presented range. `late_ticks`: how long after the start of the movie the range begins (0 for all tracks
    but a late one).
    """

    plan: TrackPlan
    sizes: array[int] = field(default_factory=lambda: array("I"))
    durations: array[int] = field(default_factory=lambda: array("I"))
    offsets: array[int] = field(default_factory=lambda: array("i"))
    sync: bytearray = field(default_factory=bytearray)
    entries: list[tuple[int, int]] = field(default_factory=list)
    extent_ids: array[int] = field(default_factory=lambda: array("Q"))
    extent_offsets: array[int] = field(default_factory=lambda: array("Q"))
    extent_counts: array[int] = field(default_factory=lambda: array("I"))
    span_shown: list[int] = field(default_factory=list)
    first_shown: int = 0
    end_shown: int = 0
    late_ticks: int = 0

    @property
    def timescale(self) -> int:
        return self.plan.spec.timescale


def movie_start_us(plans: Sequence[TrackPlan]) -> int:
    """Wall time of presentation time 0.

    The first shown picture; sound that leads it by no more than that picture's duration is cut to it, so that every
    track starts together. Sound that leads by more is footage of its own: then the movie starts with the sound.
    """
    starts = {id(plan): plan.spans[0].wall_start_us + to_us(plan.head_ticks, plan.spec.timescale) for plan in plans}
    earliest = min(starts.values())
    video = [plan for plan in plans if plan.spec.kind == "video"]
    if not video:
        return earliest
    first = min(video, key=lambda plan: starts[id(plan)])
    deltas = first.spans[0].deltas
    shown_for = max(first.spec.nominal_ticks, deltas[0] if deltas else 0)
    if starts[id(first)] - earliest <= to_us(shown_for, first.spec.timescale):
        return starts[id(first)]
    return earliest


def join_spans(plan: TrackPlan, start_us: int) -> TrackTable:
    """The table of one track in a movie that starts at `start_us`. ValueError for a plan that contradicts itself."""
    table = TrackTable(plan)
    scale = plan.spec.timescale
    origin = _wanted_dts(plan.spans[0], start_us, scale)  # movie time of the track's first sample, may be negative
    at = 0  # decode time of the span's first sample
    last_pts = -(1 << 62)
    for number, span in enumerate(plan.spans):
        low, high = _shown_range(span)
        if number:
            last_dts = at + sum(plan.spans[number - 1].deltas)
            least = _least_ticks(plan, plan.spans[number - 1])
            at = max(_wanted_dts(span, start_us, scale) - origin, last_dts + least, last_pts + least - low)
            _close_gap(table, at - last_dts, scale)
        last_pts = max(last_pts, at + high)
        _append(table, span)
        table.span_shown.append(at + span.offsets[0])
    first = plan.spans[0].offsets[0]
    table.end_shown = table.span_shown[-1] + plan.tail_ticks
    # Presentation starts with the asked picture, or where the movie starts when the track began before that.
    table.first_shown = first + plan.head_ticks
    lead = -(origin + table.first_shown)
    table.first_shown += max(0, lead)
    table.late_ticks = max(0, -lead)
    table.first_shown = min(table.first_shown, table.end_shown - 1)
    last_dts = at + sum(plan.spans[-1].deltas)
    _close_gap(table, max(1, table.end_shown - first - last_dts), scale)
    if table.first_shown < 0:  # pts before dts: an edit cannot start before 0, so all pictures move together
        _shift_offsets(table, -table.first_shown)
    return table


def _wanted_dts(span: Span, start_us: int, scale: int) -> int:
    return to_ticks(span.wall_start_us - start_us, scale) - span.offsets[0]


def _least_ticks(plan: TrackPlan, span: Span) -> int:
    """How long the last sample of a span lasts at least: over half of what is usual, at most 1/20 s."""
    usual = plan.spec.nominal_ticks or (span.deltas[-1] if span.deltas else 0)
    return min(usual, plan.spec.timescale // 10) // 2 + 1


def _shown_range(span: Span) -> tuple[int, int]:
    """Lowest and highest pts of a span, relative to its first dts."""
    if not any(span.offsets):
        return 0, sum(span.deltas)
    low = high = span.offsets[0]
    for pts in map(add, accumulate(span.deltas, initial=0), span.offsets):
        if pts > high:
            high = pts
        elif pts < low:
            low = pts
    return low, high


def _append(table: TrackTable, span: Span) -> None:
    table.sizes.extend(span.sizes)
    table.durations.extend(span.deltas)
    table.offsets.extend(span.offsets)
    table.sync.extend(span.sync)
    for run in span.entries:
        _append_run(table, *run)
    table.extent_ids.extend(span.extent_ids)
    table.extent_offsets.extend(span.extent_offsets)
    table.extent_counts.extend(span.extent_counts)


def _append_run(table: TrackTable, count: int, entry: int) -> None:
    if table.entries and table.entries[-1][1] == entry:
        table.entries[-1] = (table.entries[-1][0] + count, entry)
    else:
        table.entries.append((count, entry))


def _close_gap(table: TrackTable, ticks: int, scale: int) -> None:
    """Gives the last sample its duration; one that is too long is shared out over repeats of the last sync sample."""
    longest = min(LONGEST_SAMPLE_S * scale, (1 << 31) - 1)
    repeats = (ticks - 1) // longest
    if repeats:
        _repeat(table, max(table.sync.rfind(1), 0), repeats)
        table.durations.extend([longest] * repeats)
    table.durations.append(ticks - repeats * longest)


def _repeat(table: TrackTable, sample: int, times: int) -> None:
    """Appends one sample again and again, as extents that name the same bytes."""
    extent, first = len(table.extent_counts) - 1, len(table.sizes)
    while (first := first - table.extent_counts[extent]) > sample:
        extent -= 1
    offset = table.extent_offsets[extent] + sum(table.sizes[first:sample])
    at = 0
    for count, entry in table.entries:
        at += count
        if at > sample:
            _append_run(table, times, entry)
            break
    table.extent_ids.extend([table.extent_ids[extent]] * times)
    table.extent_offsets.extend([offset] * times)
    table.extent_counts.extend([1] * times)
    table.sizes.extend([table.sizes[sample]] * times)
    table.offsets.extend([table.offsets[sample]] * times)
    table.sync.extend(table.sync[sample : sample + 1] * times)


def _shift_offsets(table: TrackTable, ticks: int) -> None:
    table.offsets = array("i", (offset + ticks for offset in table.offsets))
    table.span_shown = [shown + ticks for shown in table.span_shown]
    table.first_shown += ticks
    table.end_shown += ticks
