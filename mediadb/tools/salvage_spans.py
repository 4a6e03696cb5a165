"""Which sequence numbers of a track were found, and where they have holes.

Law: plain values, no I/O. Memory grows with the number of holes, not of chunks.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple


class Hole(NamedTuple):
    """Numbers [first, end) of a run are not there; they belong between the two times."""

    first: int
    end: int
    start_us: int
    end_us: int


@dataclass(slots=True)
class _Stretch:
    first: int
    end: int
    start_us: int
    end_us: int


@dataclass(slots=True)
class Found:
    """Sequence numbers of one track in one run, as stretches without a hole."""

    _stretches: list[_Stretch] = field(default_factory=list)

    def __contains__(self, seq: int) -> bool:
        at = bisect_right(self._stretches, seq, key=lambda s: s.first) - 1
        return at >= 0 and seq < self._stretches[at].end

    def add(self, seq: int, start_us: int, end_us: int) -> None:
        """A number that is not in yet."""
        all_ = self._stretches
        at = bisect_right(all_, seq, key=lambda s: s.first)
        before = all_[at - 1] if at and all_[at - 1].end == seq else None
        after = all_[at] if at < len(all_) and all_[at].first == seq + 1 else None
        if before is not None:
            before.end, before.end_us = seq + 1, max(before.end_us, end_us)
            if after is not None:
                before.end, before.end_us = after.end, max(before.end_us, after.end_us)
                del all_[at]
        elif after is not None:
            after.first, after.start_us = seq, min(start_us, after.start_us)
        else:
            all_.insert(at, _Stretch(seq, seq + 1, start_us, end_us))

    def holes(self, told: Hole | None) -> list[Hole]:
        """Numbers between the stretches; `told`: what a ledger says the run had, from the first to the last."""
        out = []
        stretches = self._stretches
        if told is not None and (not stretches or told.first < stretches[0].first):
            end = stretches[0] if stretches else None
            out.append(
                Hole(told.first, end.first if end else told.end, told.start_us, end.start_us if end else told.end_us)
            )
        for a, b in pairwise(stretches):
            out.append(Hole(a.end, b.first, a.end_us, max(a.end_us, b.start_us)))
        if told is not None and stretches and told.end > stretches[-1].end:
            out.append(Hole(stretches[-1].end, told.end, stretches[-1].end_us, told.end_us))
        return out

    @property
    def end_us(self) -> int:
        return max((s.end_us for s in self._stretches), default=0)
