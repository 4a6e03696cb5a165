"""In which order footage is played where recorder time was lived twice.

Law: pure. Footage plays in recorder time. Where two live stretches claim the same time (the recorder's clock was set
back, two recordings overlap), the stretch that begins earlier plays through, then the later one: never two scenes
picture by picture. Late footage only ever fills holes and needs no such rule. Called by `footage`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mediadb.ledger_facts import MediaSpan

OVERLAP_US = 1_000_000  # less is jitter of the last frame's nominal length
LONGEST_US = 7_200_000_000  # longer overlaps are cut in pieces, so that one piece fits in memory


@dataclass(frozen=True, slots=True)
class Overlap:
    """[start_us, end_us) is claimed by more than one stretch."""

    start_us: int
    end_us: int


class PlayOrder:
    """The order of groups of pictures around some time, by the spans there."""

    def __init__(self, spans: Iterable[MediaSpan]) -> None:
        live = sorted((span for span in spans if not span.lane), key=_by_start)
        stretches = _stretches(live)
        self.overlaps = _overlaps(stretches)
        self._ranks = [(span.run, span.first_seq, span.end_seq, rank) for rank, span in enumerate(stretches)]

    def key(self, time_us: int, run: int, seq: int) -> tuple[int, int, int, int]:
        """Sort key of a group of pictures that begins at `time_us`."""
        for overlap in self.overlaps:
            if overlap.start_us <= time_us < overlap.end_us:
                return overlap.start_us, self._rank(run, seq), run, seq
        return time_us, 0, run, seq

    def block(self, time_us: int, length_us: int) -> tuple[int, int]:
        """The block of time that holds `time_us`: aligned, and cutting through no overlap."""
        low = time_us - time_us % length_us
        high = low + length_us
        for _ in range(len(self.overlaps) + 1):
            for overlap in self.overlaps:
                if overlap.start_us < high and low < overlap.end_us:
                    low = min(low, overlap.start_us - overlap.start_us % length_us)
                    high = max(high, overlap.end_us + -overlap.end_us % length_us)
        return low, high

    def _rank(self, run: int, seq: int) -> int:
        for one_run, first, end, rank in self._ranks:
            if run == one_run and first <= seq < end:
                return rank
        return -1


def _by_start(span: MediaSpan) -> tuple[int, int, int]:
    return span.start_us, span.run, span.first_seq


def _stretches(live: list[MediaSpan]) -> list[MediaSpan]:
    """Spans that follow each other by number and time count as one: damage does not begin another scene."""
    out: list[MediaSpan] = []
    for span in live:
        chain = span.run, span.clock, span.first_seq
        last = next((one for one in reversed(out) if (one.run, one.clock, one.end_seq) == chain), None)
        if last is None or span.start_us < last.end_us - OVERLAP_US:
            out.append(span)
        else:
            at = out.index(last)
            out[at] = replace(last, end_us=max(last.end_us, span.end_us), end_seq=span.end_seq)
    return sorted(out, key=_by_start)


def _overlaps(stretches: list[MediaSpan]) -> list[Overlap]:
    found: list[Overlap] = []
    reached, clock = None, (0, 0)
    for span in stretches:
        slack_us = OVERLAP_US if clock == (span.run, span.clock) else 0
        if reached is not None and span.start_us < reached - slack_us:
            found.append(Overlap(span.start_us, min(reached, span.end_us)))
        if reached is None or span.end_us > reached:
            reached, clock = span.end_us, (span.run, span.clock)
    merged: list[Overlap] = []
    for one in found:
        if merged and one.start_us <= merged[-1].end_us:
            merged[-1] = Overlap(merged[-1].start_us, max(merged[-1].end_us, one.end_us))
        else:
            merged.append(one)
    return [piece for one in merged for piece in _pieces(one)]


def _pieces(one: Overlap) -> list[Overlap]:
    """Cut at multiples of LONGEST_US, which no block of time reaches across."""
    first = one.start_us - one.start_us % LONGEST_US
    return [
        Overlap(max(low, one.start_us), min(low + LONGEST_US, one.end_us))
        for low in range(first, one.end_us, LONGEST_US)
    ]
