"""One chunk: from its place to checked samples, or the true reason why not.

Law: every byte is checked before it leaves: header against what the index says, table and payload against their CRC.
When a check fails the removal journal is asked first, then whether the commit is durable; what is left is corruption,
with its place. Used by `mediadb.read.reader` only.
"""

from __future__ import annotations

import uuid
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

from mediadb.errors import ChunkCorrupt, ChunkGone, ChunkNotDurable, FormatError, MediaDbError
from mediadb.format.checksum import crc32
from mediadb.format.chunk import CHUNK_HEADER_BYTES, ChunkHeader, check_chunk, decode_chunk_header
from mediadb.format.columns import ChunkRow
from mediadb.format.constants import NO_SEQ, NO_TIME, SALT_LEN
from mediadb.format.footer import ConfigPlace
from mediadb.format.frame_table import MARK_DAMAGED, MARK_KEY_SHIFT, FrameTable, decode_table
from mediadb.gone import removal_of
from mediadb.read.damage import DamageBook
from mediadb.read.index import StorageIndex
from mediadb.read.recent_cache import RecentCache
from mediadb.segment_files import OPEN, SEALED
from mediadb.types import ChunkFlag, Kind, Sample, TrackConfig, TrackSpec

LONGEST_GROUP_US: Final = 600_000_000  # a longer group of pictures is said damaged in part only
VERIFIED_BYTES: Final = 32 << 20  # checked payloads kept for ranges of a virtual file


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """Where a chunk is and what the index says of it. `name`: its segment file without suffix."""

    track: uuid.UUID
    name: str
    segment: uuid.UUID
    run: int
    lane: str
    segment_first_us: int
    row: ChunkRow
    config: ConfigPlace | None

    @property
    def recv_us(self) -> int:
        return self.row.recv_us

    @property
    def end_us(self) -> int:
        return self.row.recv_us + self.row.duration_us

    @property
    def seq(self) -> int:
        return self.row.seq

    @property
    def gop(self) -> int:
        return self.row.gop

    @property
    def kind(self) -> int:
        return self.row.kind

    @property
    def frame_count(self) -> int:
        return self.row.frame_count

    @property
    def data_len(self) -> int:
        """Bytes of samples, salt excluded."""
        return self.row.payload_len - SALT_LEN

    @property
    def discontinuity(self) -> bool:
        return bool(self.row.flags & ChunkFlag.DISCONTINUITY)

    @property
    def config_hash(self) -> bytes:
        return self.config.config_hash if self.config is not None else bytes(32)


@dataclass(frozen=True, slots=True)
class ChunkTable:
    """Header and frame table of a chunk, checked; its samples were not read."""

    ref: ChunkRef
    header: ChunkHeader
    spec: TrackSpec
    config: TrackConfig
    table: FrameTable


@dataclass(frozen=True, slots=True)
class ChunkData:
    """A checked chunk. `data` are its sample bytes one after the other, `table` their sizes and times."""

    ref: ChunkRef
    header: ChunkHeader
    spec: TrackSpec
    config: TrackConfig
    table: FrameTable
    data: bytes

    @property
    def samples(self) -> list[Sample]:
        """Samples as the driver delivered them."""
        header, table, data = self.header, self.table, self.data
        hz = header.timebase_hz or 1
        out, at = [], 0
        for i, size in enumerate(table.sizes):
            distance = table.dts[i]
            mark = table.marks[i]
            first = i == 0
            out.append(
                Sample(
                    data=data[at : at + size],
                    pts=header.base_dts + distance + table.cts[i],
                    dts=header.base_dts + distance,
                    key_type=mark >> MARK_KEY_SHIFT,
                    recv_us=header.recv_us + distance * 1_000_000 // hz,
                    cam_us=None if header.cam_us == NO_TIME else header.cam_us + distance * 1_000_000 // hz,
                    cam_quality=header.cam_quality,
                    lost_packets=table.lost[i],
                    damaged=bool(mark & MARK_DAMAGED),
                    discontinuity=first and bool(header.flags & ChunkFlag.DISCONTINUITY),
                )
            )
            at += size
        return out


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A checked chunk as it lies on disk, in one piece of memory: nothing is copied or decoded. `data` are its sample
    bytes one after the other, `table` their frame table as stored, `salt` what the hash of the payload begins with."""

    ref: ChunkRef
    header: ChunkHeader
    spec: TrackSpec
    config: TrackConfig
    table: memoryview
    salt: memoryview
    data: memoryview


@dataclass(frozen=True, slots=True)
class _Checked:
    header: ChunkHeader
    table: bytes
    data: memoryview  # into the chunk as it was read


class ChunkReader:
    """Reads chunks of one storage; remembers the payloads it checked last."""

    def __init__(self, index: StorageIndex, book: DamageBook) -> None:
        self._index, self._book = index, book
        self._checked: RecentCache[tuple[str, int], _Checked] = RecentCache(
            VERIFIED_BYTES, lambda checked: len(checked.data) + 512
        )

    def read(self, ref: ChunkRef) -> ChunkData:
        checked = self._check(ref)
        spec, config, table = self._decode(ref, checked.header, checked.table)
        return ChunkData(ref, checked.header, spec, config, table, bytes(checked.data))

    def stored(self, ref: ChunkRef) -> StoredChunk:
        header, table, payload = self._check_views(ref)
        spec, config = self._config(ref)
        return StoredChunk(ref, header, spec, config, table, payload[:SALT_LEN], payload[SALT_LEN:])

    def table(self, ref: ChunkRef) -> ChunkTable:
        """Header and frame table alone: one short pread."""
        header, raw = self._head(ref, CHUNK_HEADER_BYTES + ref.row.table_len)
        table = raw[CHUNK_HEADER_BYTES:]
        if crc32(table) != header.table_crc:
            raise self._explain(ref, "table does not verify")
        return ChunkTable(ref, header, *self._decode(ref, header, table))

    def _decode(self, ref: ChunkRef, header: ChunkHeader, raw: bytes) -> tuple[TrackSpec, TrackConfig, FrameTable]:
        spec, config = self._config(ref)
        try:
            table = decode_table(raw, header.frame_count)
        except FormatError as error:
            raise self._corrupt(ref, error.message) from error
        if sum(table.sizes) != header.payload_len - SALT_LEN:
            raise self._corrupt(ref, "frame table and payload differ in length")
        return spec, config, table

    def _config(self, ref: ChunkRef) -> tuple[TrackSpec, TrackConfig]:
        if ref.config is None:
            raise self._corrupt(ref, "chunk without CONFIG")
        try:
            return self._index.config(ref.name, ref.config)
        except FormatError as error:
            known = self._index.config_elsewhere(ref.track, ref.name, ref.config.config_hash)
            if known is None:
                raise self._explain(ref, error.message) from error
            return known

    def config(self, ref: ChunkRef) -> TrackConfig:
        return self._config(ref)[1]

    def read_range(self, ref: ChunkRef, offset: int, length: int) -> bytes:
        return bytes(self.read_view(ref, offset, length))

    def read_view(self, ref: ChunkRef, offset: int, length: int) -> memoryview:
        if not 0 <= offset <= offset + length <= ref.data_len:
            raise ValueError(f"bytes {offset} to {offset + length} of a chunk of {ref.data_len}")
        key = (ref.name, ref.row.offset)
        checked = self._checked.get(key)
        if checked is None or checked.header.track != ref.track.bytes or checked.header.seq != ref.seq:
            checked = self._check(ref)
            self._checked.put(key, checked)
        return checked.data[offset : offset + length]

    def forget(self, name: str) -> None:
        """Drop what is remembered of a removed segment."""
        self._checked.drop(lambda key: key[0] == name)

    def _head(self, ref: ChunkRef, length: int) -> tuple[ChunkHeader, bytes]:
        """The first `length` bytes of a chunk, with its header checked against what the index says."""
        try:
            raw = self._index.files.pread(ref.name, length, ref.row.offset)
            header = decode_chunk_header(raw)
        except ChunkGone:
            self._index.recheck({ref.name})
            raise
        except MediaDbError as error:
            raise self._explain(ref, error.message, not isinstance(error.__cause__, OSError)) from error
        same = (header.track, header.run, header.seq, header.chunk_len, header.table_len) == (
            ref.track.bytes, ref.run, ref.seq, ref.row.length, ref.row.table_len,
        )  # fmt: skip
        if not same:
            raise self._explain(ref, "another chunk lies where the index points to")
        return header, raw

    def _check(self, ref: ChunkRef) -> _Checked:
        header, table, payload = self._check_views(ref)
        return _Checked(header, bytes(table), payload[SALT_LEN:])

    def _check_views(self, ref: ChunkRef) -> tuple[ChunkHeader, memoryview, memoryview]:
        """Header, table and payload (salt first) of one pread."""
        header, raw = self._head(ref, ref.row.length)
        view = memoryview(raw)
        table = view[CHUNK_HEADER_BYTES : CHUNK_HEADER_BYTES + header.table_len]
        payload = view[CHUNK_HEADER_BYTES + header.table_len :]
        wrong = check_chunk(header, table, payload)
        if wrong is not None:
            raise self._explain(ref, f"{wrong} does not verify")
        self._book.verified(ref)
        return header, table, payload

    def _explain(self, ref: ChunkRef, what: str, lasting: bool = True) -> MediaDbError:
        """Why the bytes are not there: removed on purpose, not durable yet, or damage."""
        removed = removal_of(self._index.fs, self._index.volume / ref.name, ref.row.offset)
        if removed is not None:
            what_rule = f"{removed.state} by the rule {removed.rule!r}"
            return ChunkGone(
                f"{ref.name} at {ref.row.offset}: {what_rule}", removed.state, file=ref.name, rule=removed.rule
            )
        durable_end = self._index.durable_end(ref.name)
        if durable_end is not None and ref.row.offset >= durable_end:
            return ChunkNotDurable(
                f"{ref.name} at {ref.row.offset}: not durable yet", file=ref.name, offset=ref.row.offset
            )
        self._index.recheck({ref.name})
        return self._corrupt(ref, what, lasting)

    def _is_there(self, ref: ChunkRef) -> bool:
        """Does the file reach over the chunk?"""
        if ref.name in self._index.damaged:
            return False
        for suffix in (SEALED, OPEN):
            status = self._index.fs.stat(self._index.volume / (ref.name + suffix))
            if status is not None:
                return status.size >= ref.row.offset + ref.row.length
        return False

    def _shown_until(self, ref: ChunkRef) -> int:
        """How far nothing can be shown without `ref`: of a KEY, and of what refers to one, to the end of the group."""
        if ref.kind not in (Kind.KEY, Kind.DELTA) or ref.gop == NO_SEQ:
            return ref.end_us
        ends = [ref.end_us]
        for part in self._index.parts(ref.track, ref.recv_us, ref.recv_us + LONGEST_GROUP_US, ref.run):
            if part.run != ref.run:
                continue  # an open segment
            media = part.media
            rows = range(bisect_left(media.seq, ref.seq, 0, part.count), part.count)
            needy = [i for i in rows if media.gop[i] == ref.gop and media.kind[i] == Kind.DELTA]
            ends += [media.recv_us[i] + media.duration_us[i] for i in needy]
        return max(ends)

    def _corrupt(self, ref: ChunkRef, what: str, lasting: bool = True) -> ChunkCorrupt:
        if self._is_there(ref):  # a lost or cut file is known as such
            self._book.met(ref, self._shown_until(ref), what, lasting)
        return ChunkCorrupt(
            f"{ref.name} at {ref.row.offset}: {what}; run mediadb verify",
            file=ref.name,
            offset=ref.row.offset,
            what=what,
        )
