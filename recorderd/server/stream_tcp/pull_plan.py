"""Which chunks a `pull` sends, in which order: every one once, wherever it is cut and taken up again.

Law: blocking, runs on the volume's read pool, one call at a time; asks the reader for a stretch of time
after the other and holds the references of one stretch only. Nothing is read of the media here. Called by `pull_feed`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mediadb.read.reader import ChunkRef, Reader
from recorderd.engine.ports import TrackCommit
from recorderd.services.playback.order import LONGEST_US as OVERLAP_US
from recorderd.services.playback.order import PlayOrder
from recorderd.services.playback.types import BadCursor, Cursor

FIRST_US = 10 * 60_000_000  # of the first stretch asked for; the next is longer when that held little
LONGEST_US = 24 * 3600 * 1_000_000
FAR_US = 1 << 62
LITTLE = 200  # chunks: after a stretch with fewer the next one is longer


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk to send; from sample `skip` on, as units, when it was sent in part before."""

    ref: ChunkRef
    skip: int = 0


class TrackPlan:
    """One track's chunks from `start_us` (or a cursor) on, stretch by stretch."""

    def __init__(self, reader: Reader, track: uuid.UUID, start_us: int, cursor: Cursor | None) -> None:
        self.track = track
        self.low_us = start_us
        self._reader = reader
        self._whole = True  # the first stretch has what a decoder needs before it
        self._given: set[tuple[int, int]] = set()  # (run, seq) of chunks from `low_us` on that were given
        self._part = 0  # samples of the first chunk that were sent before
        self._last: tuple[int, int] | None = None  # (run, seq) of the live chunk given last
        self._until_us: int | None = None  # up to here, only what follows `_last`: the clock was set back
        self._after: tuple[int, ...] | None = None  # the place of the cursor in the order of playing
        self._floor_us = -FAR_US
        if cursor is not None:
            self._take_up(cursor)

    def _take_up(self, cursor: Cursor) -> None:
        """Go on behind `cursor`. Raises BadCursor when nothing of its run from there on is here."""
        if cursor.track != self.track:
            raise BadCursor("the cursor is of another track", track=str(self.track))
        found = self._reader.find(cursor.track, cursor.run, cursor.seq)
        if found is None:
            raise BadCursor("nothing of the cursor's run from there on is here", cursor=str(cursor))
        self._floor_us = self._reader.decodable_from(self.track, self.low_us)
        self._whole = False
        self._last = cursor.run, cursor.seq
        order = self._order(found.recv_us, found.recv_us)
        self._after = order.key(found.recv_us, found.run, found.seq)
        self.low_us = order.block(found.recv_us, 1)[0]
        if found.seq == cursor.seq:
            if cursor.index + 1 < found.frame_count:
                self._part = cursor.index + 1
            else:
                self._given.add((found.run, found.seq))

    def clear_of(self, time_us: int) -> int:
        """`time_us`, or the first time behind it that cuts through no time that was lived twice."""
        return self._order(time_us, time_us).block(time_us, 1)[1] - 1

    def next_us(self, time_us: int) -> int:
        """The first time at or behind `time_us` at which there may be something: years without footage are passed."""
        if self._reader.index.parts(self.track, time_us, time_us + 1):
            return time_us
        return next((part.first_us for part in self._reader.index.walk(self.track, time_us, before=False)), FAR_US)

    def _order(self, low_us: int, high_us: int) -> PlayOrder:
        return PlayOrder(self._reader.index.spans(self.track, low_us - OVERLAP_US, high_us + OVERLAP_US))

    def stretch(self, high_us: int) -> list[Piece]:
        """The chunks that begin before `high_us`, are durable, and were not given yet."""
        low_us = self.low_us
        if high_us <= low_us:
            return []
        durable_us = self._reader.durable_us(self.track)
        if durable_us is None:
            return []
        refs = [
            ref
            for ref in self._reader.chunks(self.track, low_us, high_us)
            if self._whole or (ref.recv_us >= low_us and (ref.run, ref.seq) not in self._given and self._is_ahead(ref))
        ]
        order = self._order(low_us, high_us)
        keyed = sorted(((order.key(ref.recv_us, ref.run, ref.seq), ref) for ref in refs), key=lambda one: one[0])
        refs = [
            ref for key, ref in keyed if self._after is None or (key >= self._after and ref.recv_us >= self._floor_us)
        ]
        if self._leaves_out(refs) and self.set_back():
            return self.stretch(high_us)
        self._note(refs)
        # What begins before `durable_us` is here now or never; what begins later may still come.
        self.low_us = max(low_us, min(high_us, durable_us))
        self._given = {key for key in self._given if self.low_us == low_us}
        self._given |= {(ref.run, ref.seq) for ref in refs if ref.recv_us >= self.low_us}
        self._whole = False
        self._after = None if refs else self._after
        pieces = [Piece(ref, 0 if at else self._part) for at, ref in enumerate(refs)]
        self._part = 0 if pieces else self._part
        return pieces

    def passed(self, next_seq: int, last_us: int) -> bool:
        """Does a commit up to there hold chunks that lie before what was given already?"""
        back = last_us < self.low_us or self._until_us is not None
        return back and self._last is not None and next_seq > self._last[1] + 1

    def set_back(self) -> bool:
        """Go back to the chunk that follows the last one of its run; False when it does not lie behind."""
        if self._last is None:
            return False
        run, seq = self._last
        found = self._reader.find(self.track, run, seq + 1)
        if found is None or found.recv_us >= self.low_us:
            self._until_us = None if found is not None else self._until_us
            return False
        self._until_us = max(self.low_us, self._until_us or 0)
        self.low_us = found.recv_us
        return True

    def _leaves_out(self, refs: Sequence[ChunkRef]) -> bool:
        """Is a chunk missing between the last one and these? It may lie earlier."""
        first = next((ref for ref in refs if not ref.lane), None)
        last = self._last
        return first is not None and last is not None and first.run == last[0] and first.seq > last[1] + 1

    def _note(self, refs: Sequence[ChunkRef]) -> None:
        live = [ref for ref in refs if not ref.lane]
        if live:
            run = live[-1].run
            highest = max(ref.seq for ref in live if ref.run == run)
            if self._last is not None and self._last[0] == run:
                highest = max(highest, self._last[1])
            self._last = run, highest

    def _is_ahead(self, ref: ChunkRef) -> bool:
        if self._until_us is None or self._last is None or ref.recv_us >= self._until_us:
            return True
        return ref.run == self._last[0] and ref.seq > self._last[1]


class PullPlan:
    """The chunks of several tracks in [start_us, end_us), interleaved by time."""

    def __init__(self, reader: Reader, tracks: Sequence[TrackPlan], end_us: int | None) -> None:
        self._reader, self._tracks, self._end_us = reader, tracks, end_us
        self._at_us: int | None = None
        self._length_us = FIRST_US

    def next(self) -> list[Piece] | None:
        """The next chunks, perhaps none; None when everything that is durable now was given."""
        if self._at_us is None:
            self._at_us = self._begin()
        ends = [self._reader.durable_us(plan.track) for plan in self._tracks]
        last_us = max((end for end in ends if end is not None), default=0)
        if self._end_us is not None:
            last_us = min(last_us, self._end_us)
        if self._at_us is None or self._at_us >= last_us:
            return None
        high_us = min(max(plan.clear_of(self._at_us + self._length_us) for plan in self._tracks), last_us)
        found = [plan.stretch(high_us) for plan in self._tracks]
        self._length_us = min(self._length_us * 2, LONGEST_US) if sum(map(len, found)) < LITTLE else FIRST_US
        self._at_us = (
            high_us if any(found) else min(max(high_us, min(plan.next_us(high_us) for plan in self._tracks)), last_us)
        )
        return list(_interleaved(found))

    def passed(self, tracks: Mapping[uuid.UUID, TrackCommit]) -> bool:
        """Did a commit bring chunks that lie before what was given: was the recorder's clock set back?"""
        commits = [(plan, tracks[plan.track]) for plan in self._tracks if plan.track in tracks]
        return any(
            plan.passed(commit.next_seq, commit.last_recv_us)
            for plan, commit in commits
            if commit.last_recv_us is not None
        )

    def set_back(self) -> None:
        """Go back to where the clock was set to."""
        lows = [plan.low_us for plan in self._tracks if plan.set_back()]
        if self._at_us is not None:
            self._at_us = min([self._at_us, *lows])

    @property
    def complete(self) -> bool:
        """Whether the end that was asked for was reached."""
        return self._end_us is not None and self._at_us is not None and self._at_us >= self._end_us

    def _begin(self) -> int | None:
        """Where the first stretch begins: not before there is anything. None while there is nothing."""
        tracks = {plan.track: plan for plan in self._tracks}
        begins = [
            max(info.first_us, tracks[info.spec.track].low_us)
            for info in self._reader.tracks()
            if info.spec.track in tracks
        ]
        return min(begins, default=None)


def _interleaved(found: Sequence[Sequence[Piece]]) -> Iterator[Piece]:
    """By time of arrival; the order of each track is kept even where its clock stepped back."""
    keyed = []
    for number, pieces in enumerate(found):
        high_us = 0
        for place, piece in enumerate(pieces):
            high_us = max(high_us, piece.ref.recv_us)
            keyed.append((high_us, number, place, piece))
    keyed.sort(key=lambda one: one[:3])
    for *_, piece in keyed:
        yield piece
