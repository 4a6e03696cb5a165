"""One track's groups of pictures in the order they are played, and the holes between them.

Law: blocking; every call runs on the volume's read pool (`AsyncStore.read`). Time is looked at in blocks of a minute,
of which a few are remembered; what is not durable does not exist here. Called by `player` only.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mediadb.errors import ChunkError, ChunkGone, ChunkNotDurable, FormatError
from mediadb.ledger_facts import BESIDE_US
from mediadb.read.reader import ChunkData, ChunkRef, Reader, Span
from mediadb.types import Cause, Interval, State
from recorderd.services.playback.gop import Gop, Picture, Place, Same, group, leading, pictures
from recorderd.services.playback.order import PlayOrder
from recorderd.services.playback.types import BadCursor, Cursor, Hole

BLOCK_US = 60_000_000
AROUND_US = 3_600_000_000  # how far around a block overlapping stretches are looked for
BLOCKS_KEPT = 4
REACHES_US = (10_000_000, 60_000_000, 600_000_000)  # how long the last group of a block may go on behind it
FAR_US = 1 << 61
_THERE = (State.RECORDED, State.RETRIEVED)
_NOT_SHOWN = Cause(State.STORAGE_ERROR, "key-missing")
SPAN_WINDOWS_US = (86_400_000_000, 40 * 86_400_000_000)


@dataclass(frozen=True, slots=True)
class Block:
    """All groups that begin in [start_us, end_us), in play order. `settled`: nothing will be added any more."""

    start_us: int
    end_us: int
    gops: list[Gop]
    places: dict[Same, int]
    settled: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one read brought: chunks in order, and the chunk that could not be given, with why."""

    chunks: list[ChunkData]
    failed: ChunkRef | None = None
    why: Cause | None = None


class Footage:
    """Groups of pictures of one track. Not for two threads at once."""

    def __init__(self, reader: Reader, track: uuid.UUID) -> None:
        self.reader = reader
        self.track = track
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._tolerance_us = 0

    # -- groups ---------------------------------------------------------------------------------------------------

    def newest(self, time_us: int) -> Gop | None:
        """The group that begins last at or before `time_us`."""
        at = time_us
        while (ref := self.reader.locate_key(self.track, at, -1)) is not None:
            found = [gop for gop in self._block(ref.recv_us).gops if gop.start_us <= time_us]
            if found:
                return max(found, key=lambda gop: gop.start_us)
            at = min(ref.recv_us, self._block(ref.recv_us).start_us) - 1
        return None

    def first_after(self, time_us: int) -> Gop | None:
        """The group that begins first after `time_us`."""
        at = time_us
        while (ref := self.reader.locate_key(self.track, at, 1)) is not None:
            block = self._block(ref.recv_us)
            found = [gop for gop in block.gops if gop.start_us > time_us]
            if found:
                return min(found, key=lambda gop: gop.start_us)
            at = max(ref.recv_us, block.end_us - 1)
        return None

    def again(self, gop: Gop) -> Gop | None:
        """The same group as it was when it was looked at last; None when it has gone."""
        block = self._block(gop.start_us)
        at = block.places.get(gop.same)
        return None if at is None else block.gops[at]

    def after(self, gop: Gop) -> Gop | None:
        """The group played next. Behind the last one that is known the footage is looked at again: then `again` shows
        what came to that one, too."""
        block = self._block(gop.start_us)
        at = block.places.get(gop.same)
        if at == len(block.gops) - 1 and not block.settled:
            self._blocks.pop(block.start_us, None)
            block = self._block(gop.start_us)
            at = block.places.get(gop.same)
        if at is not None and at + 1 < len(block.gops):
            return block.gops[at + 1]
        if at is None:  # it went while it was played: on by time
            return self.first_after(gop.start_us)
        time_us = block.end_us - 1
        while (ref := self.reader.locate_key(self.track, time_us, 1)) is not None:
            block = self._block(ref.recv_us)
            if block.gops:
                return block.gops[0]
            time_us = max(ref.recv_us, block.end_us - 1)
        return None

    def before(self, gop: Gop) -> Gop | None:
        """The group played before it."""
        block = self._block(gop.start_us)
        at = block.places.get(gop.same)
        if at:
            return block.gops[at - 1]
        if at is None:
            return self.newest(gop.start_us - 1)
        time_us = block.start_us - 1
        while (ref := self.reader.locate_key(self.track, time_us, -1)) is not None:
            block = self._block(ref.recv_us)
            if block.gops:
                return block.gops[-1]
            time_us = min(ref.recv_us, block.start_us) - 1
        return None

    def first(self) -> Gop | None:
        return self.first_after(-FAR_US)

    def last(self) -> Gop | None:
        return self.newest(FAR_US)

    def at_cursor(self, cursor: Cursor) -> tuple[Gop, Place | None]:
        """The group that holds a cursor. Where that is not there any more (or cannot be decoded), the first one left
        behind it, and no place. Raises BadCursor for another track, an unknown run, and when nothing is left."""
        if cursor.track != self.track:
            raise BadCursor("the cursor belongs to another track", cursor=str(cursor))
        ref = self.reader.find(self.track, cursor.run, cursor.seq)
        gop = self.newest(ref.recv_us) if ref is not None and ref.seq == cursor.seq else None
        while gop is not None and ref is not None and gop.start_us > ref.recv_us - REACHES_US[-1]:
            if gop.key.run == cursor.run and any(one.seq == cursor.seq for one in gop.refs):
                return gop, (cursor.seq, cursor.index)
            gop = self.before(gop)
        left_us = ref.recv_us if ref is not None else self.reader.run_end_us(cursor.run)
        gop = self.first_after(left_us - 1) if left_us is not None else None
        while gop is not None and gop.key.run == cursor.run and gop.key.seq <= cursor.seq:
            gop = self.after(gop)
        if gop is None:
            raise BadCursor("the footage of the cursor is not there any more; seek by time", cursor=str(cursor))
        return gop, None

    # -- blocks ---------------------------------------------------------------------------------------------------

    def _block(self, time_us: int) -> Block:
        for block in self._blocks.values():
            if block.start_us <= time_us < block.end_us:
                return block
        durable_us = self.reader.durable_us(self.track) or 0
        spans = self.reader.index.spans(self.track, time_us - AROUND_US, time_us + AROUND_US)
        order = PlayOrder(spans)
        start_us, end_us = order.block(time_us, BLOCK_US)
        gops = self._gops(start_us, end_us, durable_us)
        gops.sort(key=lambda gop: order.key(gop.start_us, gop.key.run, gop.key.seq))
        places = {gop.same: at for at, gop in enumerate(gops)}
        block = Block(start_us, end_us, gops, places, end_us + REACHES_US[0] < durable_us)
        self._tolerance_us = min(BESIDE_US, self.reader.index.tolerance_us(self.track))
        self._blocks[start_us] = block
        while len(self._blocks) > BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return block

    def _gops(self, start_us: int, end_us: int, durable_us: int) -> list[Gop]:
        for reach_us in REACHES_US:
            refs = list(self.reader.chunks(self.track, start_us, end_us + reach_us))
            found = [gop for gop in group(refs, self.reader.follows) if start_us <= gop.start_us < end_us]
            if _whole(found, refs) or end_us + reach_us > durable_us:
                break
        return found

    def forget(self) -> None:
        """Footage may have been removed or repaired: look again."""
        self._blocks.clear()

    # -- holes and sequences --------------------------------------------------------------------------------------

    def hole(self, before: ChunkRef, after: ChunkRef) -> Hole | None:
        """What is missing between two chunks that follow each other in play order; None when nothing is."""
        start_us, end_us = before.end_us, after.recv_us
        if end_us - start_us <= self._tolerance_us:
            return None
        causes = self.causes(start_us, end_us)
        if all(one.cause.state in _THERE for one in causes):
            continues = (before.lane, before.run, before.seq + 1) == (after.lane, after.run, after.seq)
            if continues:
                return None  # a camera that made no picture for a moment
            causes = (Interval(start_us, end_us, _NOT_SHOWN),)
        elif (before.lane, before.run) == (after.lane, after.run) and not self.reader.follows(before, after):
            # footage behind what is missing is there, and nothing shows it
            causes = tuple(replace(one, cause=_NOT_SHOWN) if one.cause.state in _THERE else one for one in causes)
        return Hole(start_us, end_us, causes)

    def causes(self, start_us: int, end_us: int) -> tuple[Interval, ...]:
        return tuple(self.reader.coverage([self.track], start_us, end_us)[self.track])

    def contiguous(self, before: Gop, after: Gop) -> bool:
        """May a decoder go on from one group into the other?"""
        one, other = before.refs[-1], after.key
        return self.reader.follows(one, other) and self.hole(one, other) is None

    def sequence_after(self, time_us: int) -> Span | None:
        """The first gapless stretch that begins after `time_us`."""
        for spans in self._spans_forward(time_us):
            found = next((span for span in spans if span.start_us > time_us), None)
            if found is not None:
                return found
        return None

    def sequence_before(self, time_us: int) -> Span | None:
        """The gapless stretch before the one that holds `time_us`; in a hole, the one before it."""
        for window_us in (*SPAN_WINDOWS_US, FAR_US):
            low = max(time_us - window_us, -FAR_US)
            spans = [one for one in self.reader.spans(self.track, low, time_us + 1) if one.start_us <= time_us]
            if spans and spans[-1].end_us > time_us:
                spans.pop()
            if spans and (spans[-1].start_us > low or window_us == FAR_US):
                return spans[-1]
        return None

    def _spans_forward(self, time_us: int) -> Iterator[Sequence[Span]]:
        for window_us in (*SPAN_WINDOWS_US, FAR_US):
            low = max(time_us - BLOCK_US, -FAR_US)
            yield [one for one in self.reader.spans(self.track, low, time_us + window_us) if one.start_us > low]

    # -- bytes ----------------------------------------------------------------------------------------------------

    def load(self, refs: Sequence[ChunkRef], budget_bytes: int) -> Loaded:
        """Chunks in order until `budget_bytes` are reached (at least one), or one cannot be given."""
        chunks: list[ChunkData] = []
        size = 0
        for ref in refs:
            if chunks and size + ref.data_len > budget_bytes:
                break
            try:
                chunks.append(self.reader.read(ref))
            except ChunkNotDurable:
                return Loaded(chunks, ref, None)
            except (ChunkError, FormatError, OSError) as error:
                return Loaded(chunks, ref, cause_of(error))
            size += ref.data_len
        return Loaded(chunks)

    def look(self, gop: Gop) -> list[Picture]:
        """The pictures of a group in decode order, as far as its tables can be read; those that need a group before
        that is not there are left out."""
        found: list[Picture] = []
        for ref in gop.refs:
            try:
                found += pictures(self.reader.table(ref))
            except (ChunkError, FormatError, OSError):
                break
        lead = leading(found)
        if lead:
            before = self.before(gop)
            if before is None or not self.contiguous(before, gop):
                found = [one for one in found if one.place not in lead]
        return found


def cause_of(error: Exception) -> Cause:
    """Why a chunk could not be given, in the words of coverage."""
    if isinstance(error, ChunkGone):
        return Cause(State.GROOMED if error.state == "groomed" else State.DELETED, "reclaimed")
    return Cause(State.STORAGE_ERROR, "chunk-damaged", {"error": str(error)[:300]})


def _whole(found: list[Gop], refs: list[ChunkRef]) -> bool:
    """Does something follow every group in its own chain, so that none was cut?"""
    last: dict[tuple[str, int], int] = {}
    for ref in refs:
        chain = (ref.lane, ref.run)
        last[chain] = max(last.get(chain, 0), ref.seq)
    return all(last[gop.key.lane, gop.key.run] > gop.refs[-1].seq for gop in found)
