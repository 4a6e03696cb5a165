"""One group of a fragmented file: its moof out of frame tables, and the chunks whose samples follow it.

Law: reads the frame tables of this group; samples are read by whoever sends them, chunk by chunk and checked. The
bytes of a group depend on its chunks and on the times given here alone. Called by `long_movie` and for segments of
playlists.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from mediadb.errors import ChunkCorrupt, FormatError
from mediadb.mp4.group import Run, group_head
from mediadb.mp4.timeline import LONGEST_SAMPLE_S
from mediadb.read.chunks import ChunkRef
from mediadb.read.part import ENTRY_KINDS
from mediadb.read.reader import Reader

_MOST_OFFSET: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class PiecePlan:
    """Chunks of one track that continue each other, with one coding. `base`: decode time of the first sample that is
    kept, `end`: when the last one ends, in ticks of `scale`. `skip`: samples of the first chunk that are left out."""

    track_id: int
    entry: int
    scale: int
    refs: Sequence[ChunkRef]
    base: int
    end: int
    skip: int = 0


class Group:
    """The bytes of one group: `head` (moof and mdat header), then slices of chunks."""

    __slots__ = ("_begins", "_refs", "_skips", "head", "total_bytes")

    def __init__(self, head: bytes, slices: Sequence[tuple[ChunkRef, int, int]]) -> None:
        self.head = head
        self._refs = [ref for ref, _, _ in slices]
        self._skips = [skip for _, skip, _ in slices]
        self._begins = list(accumulate((length for _, _, length in slices), initial=len(head)))
        self.total_bytes = self._begins[-1]

    def read(self, reader: Reader, start: int, end: int) -> Iterator[bytes | memoryview]:
        """Bytes [start, end) in order. Raises as `Reader.read`."""
        if start < len(self.head):
            yield memoryview(self.head)[start:end]
        for number, (begin, stop) in enumerate(pairwise(self._begins)):
            low, high = max(start, begin), min(end, stop)
            if low < high:
                yield reader.read_view(self._refs[number], self._skips[number] + low - begin, high - low)


def lay_group(reader: Reader, sequence: int, pieces: Sequence[PiecePlan]) -> Group:
    """The group of these pieces. Raises as `Reader.table`, ChunkCorrupt when a table contradicts the index, FormatError
    for a `skip` that leaves nothing of a chunk."""
    slices: list[tuple[ChunkRef, int, int]] = []
    runs = [_run(reader, piece, slices) for piece in pieces]
    return Group(group_head(sequence, runs), slices)


def _run(reader: Reader, piece: PiecePlan, slices: list[tuple[ChunkRef, int, int]]) -> Run:
    times, sizes, offsets = array("q"), array("I"), array("i")
    sync = bytearray()
    scale, skip, origin = piece.scale, piece.skip, 0
    for number, ref in enumerate(piece.refs):
        found = reader.table(ref)
        table, hz = found.table, found.config.timebase_hz
        count = len(table.sizes)
        if number == 0 and skip >= count > 0:
            raise FormatError(f"{skip} samples are to be left out of {count}")
        if count != ref.frame_count:
            raise ChunkCorrupt(
                f"{ref.name} at {ref.row.offset}: {count} samples, {ref.frame_count} by its index; run mediadb verify",
                file=ref.name, offset=ref.row.offset,
            )  # fmt: skip
        base = found.header.base_dts
        if hz == scale:
            times.extend([base + d for d in table.dts])
            offsets.extend(table.cts)
        else:
            times.extend([(base + d) * scale // hz for d in table.dts])
            offsets.extend([c * scale // hz for c in table.cts])
        sizes.extend(table.sizes)
        sync.extend((b"\1" if ref.kind in ENTRY_KINDS else b"\0") * count)
        cut = 0
        if number == 0:
            if skip:
                cut = sum(sizes[:skip])
                del times[:skip], offsets[:skip], sizes[:skip], sync[:skip]
            origin = times[0]
        slices.append((ref, cut, ref.data_len - cut))
    times.append(max(piece.end - piece.base + origin, times[-1] + 1))
    longest = min(LONGEST_SAMPLE_S * scale, _MOST_OFFSET)
    durations = array("I", [min(max(b - a, 0), longest) for a, b in pairwise(times)])
    return Run(piece.track_id, piece.entry, piece.base, durations, sizes, offsets, bytes(sync))
