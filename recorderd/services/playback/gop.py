"""A group of pictures: its chunks, and the order its pictures are decoded and shown in.

Law: values over chunk references and checked tables, no I/O. Pictures are shown by presentation time inside their
group; groups follow each other. Pictures of an open group that are shown before its key (leading pictures, ISO/IEC
14496-15 sync samples that are no IDR) need the group before: they count only where that group is contiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mediadb.format.frame_table import MARK_KEY_SHIFT
from mediadb.read.reader import ChunkData, ChunkRef, ChunkTable
from mediadb.types import KeyType, Kind, TrackKind
from recorderd.services.playback.types import Frame

_ENTRIES = (Kind.KEY, Kind.INTRA, Kind.AUDIO, Kind.METADATA)
_OPEN = (KeyType.OPEN_GOP, KeyType.RECOVERY_POINT)

Place = tuple[int, int]
"""(chunk seq, index in the chunk): a frame inside its run."""
Same = tuple[str, int, int]
"""(lane, run, seq of the key): a group."""


@dataclass(frozen=True, slots=True)
class Gop:
    """Chunks that a decoder takes from its key on. `refs` are in sequence order; the first may be entered."""

    refs: tuple[ChunkRef, ...]

    @property
    def key(self) -> ChunkRef:
        return self.refs[0]

    @property
    def start_us(self) -> int:
        return self.refs[0].recv_us

    @property
    def end_us(self) -> int:
        return max(ref.end_us for ref in self.refs)

    @property
    def same(self) -> Same:
        """Its identity: equal for the same group looked up again, when it may have grown."""
        return self.refs[0].lane, self.refs[0].run, self.refs[0].seq


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a frame without its bytes."""

    place: Place
    pts: int
    recv_us: int
    time_us: int
    key_type: int

    @property
    def is_key(self) -> bool:
        return self.key_type != KeyType.DELTA


def group(refs: Iterable[ChunkRef], follows: Callable[[ChunkRef, ChunkRef], bool]) -> list[Gop]:
    """Groups of pictures out of chunks, each chain's in sequence order. Chunks whose key is not there are left out, and
    so are those behind a missing one in their group, for they refer to it: `follows` tells that none is missing between
    two chunks of a chain."""
    chains: dict[tuple[str, int], list[ChunkRef]] = {}
    for ref in refs:
        chains.setdefault((ref.lane, ref.run), []).append(ref)
    found: list[Gop] = []
    for chain in chains.values():
        open_refs: list[ChunkRef] = []
        for ref in sorted(chain, key=_seq):
            if ref.kind in _ENTRIES:
                if open_refs:
                    found.append(Gop(tuple(open_refs)))
                open_refs = [ref]
            elif open_refs and ref.gop == open_refs[0].gop and follows(open_refs[-1], ref):
                open_refs.append(ref)
            elif open_refs:
                found.append(Gop(tuple(open_refs)))
                open_refs = []
        if open_refs:
            found.append(Gop(tuple(open_refs)))
    return found


def pictures(chunk: ChunkTable | ChunkData) -> list[Picture]:
    """The frames of a chunk in decode order."""
    header, table = chunk.header, chunk.table
    hz = header.timebase_hz or 1
    out = []
    for i, distance in enumerate(table.dts):
        dts = header.base_dts + distance
        recv_us = header.recv_us + distance * 1_000_000 // hz
        shown_us = recv_us + table.cts[i] * 1_000_000 // hz
        out.append(Picture((header.seq, i), dts + table.cts[i], recv_us, shown_us, table.marks[i] >> MARK_KEY_SHIFT))
    return out


def leading(found: Sequence[Picture]) -> set[Place]:
    """Pictures of an open group that are shown before its key. `found`: the whole group in decode order."""
    if not found or found[0].key_type not in _OPEN:
        return set()
    return {one.place for one in found[1:] if one.pts < found[0].pts}


def shown_order(found: Iterable[Picture]) -> list[Picture]:
    """One group's pictures as they are shown."""
    return sorted(found, key=lambda one: (one.pts, one.place))


def frames(chunk: ChunkData) -> list[Frame]:
    """The frames of a chunk in decode order, none of them preroll."""
    spec, header = chunk.spec, chunk.header
    hz = header.timebase_hz or 1
    return [
        Frame(
            spec.track, spec.kind, sample, chunk.config,
            sample.recv_us + (sample.pts - sample.dts) * 1_000_000 // hz,
            header.run, header.seq, index, sample.key_type != KeyType.DELTA or spec.kind is not TrackKind.VIDEO, False,
        )
        for index, sample in enumerate(chunk.samples)
    ]  # fmt: skip


def _seq(ref: ChunkRef) -> int:
    return ref.seq
