"""What this run says of tracks that broke off with earlier runs: GAP(crash) and LINK, once each.

Law: no files, no clock, no threads: what recovery found in, statements out; the writer puts them into its ledger. What
an earlier run should have said is said as that one would have said it, at once. What is this run's to say waits for
the first footage of the track; at a clean stop the gap is said up to where this run began, for nobody owes it after.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mediadb.format.constants import NO_TIME
from mediadb.format.ledger_page import LedgerKind
from mediadb.format.records import Record, encode_cause, run_text
from mediadb.types import Cause, State
from mediadb.write.items import GapItem
from mediadb.write.recover_ledger import LeftBehind
from mediadb.write.segment_chunk import TrackState

Words = list[tuple[LedgerKind, Record]]


class Aftermath:
    """See the module. `run` is the present one."""

    def __init__(self, run: int) -> None:
        self._run = run
        self._waiting: dict[tuple[int, uuid.UUID], LeftBehind] = {}
        self._entered: set[tuple[int, uuid.UUID]] = set()  # a volume that comes back is recovered again

    def enter(self, found: Iterable[LeftBehind]) -> Words:
        """Take what recovery found. Returns what earlier runs owed."""
        words: Words = []
        for left in found:
            key = left.run, left.track
            if key in self._entered:
                continue
            self._entered.add(key)
            if left.until_us is None:
                self._waiting[key] = left
                continue
            words += _gap_words(left, left.until_us)
            if left.to_run is None:
                self._waiting[key] = replace(left, due=False)  # who goes on is not known yet
            else:
                words.append((LedgerKind.LINK, _link(left, left.to_run)))
        return words

    def met(self, tracks: Mapping[uuid.UUID, TrackState]) -> Iterator[tuple[TrackState, GapItem | None, Record]]:
        """Tracks of which this run has footage now: the gap before it, if there is one, and the body of the LINK."""
        for key, left in [*self._waiting.items()]:
            track = tracks.get(left.track)
            if track is not None and track.first_recv_us != NO_TIME:
                del self._waiting[key]
                yield track, gap_behind(left, track.first_recv_us), _link(left, self._run)

    def last_words(self, began_us: int) -> Words:
        """At a clean stop: gaps behind which this run had no footage."""
        waiting, self._waiting = self._waiting, {}
        return [word for left in waiting.values() for word in _gap_words(left, began_us)]


def gap_behind(left: LeftBehind, until_us: int) -> GapItem | None:
    """None when nobody asked for footage, or the clock stood earlier then."""
    if not left.due or until_us <= left.end_us:
        return None
    return GapItem(left.end_us, until_us, Cause(State.SERVER_DOWN, "crash", {"run": run_text(left.run)}))


def _gap_words(left: LeftBehind, until_us: int) -> Words:
    gap = gap_behind(left, until_us)
    if gap is None:
        return []
    times: Record = {"track": str(left.track), "start_us": gap.start_us, "end_us": gap.end_us}
    return [(LedgerKind.GAP, {**times, **encode_cause(gap.cause)})]


def _link(left: LeftBehind, to_run: int) -> Record:
    return {
        "track": str(left.track), "from_run": run_text(left.run), "next_seq": left.next_seq, "to_run": run_text(to_run),
    }  # fmt: skip
