"""The chunk index of one track in packed columns: the same in the memory of an open segment and in a footer.

Law: arrays of numbers, no object per chunk, no I/O. One writer appends, any number of readers look at rows below a
count they were given: nobody takes a memoryview of an open index (that would stop it from growing).
"""

from __future__ import annotations

import sys
from array import array
from typing import Final, NamedTuple

from mediadb.errors import FormatError
from mediadb.format.chunk import CHUNK_HEADER_BYTES, ChunkHeader

# column, array letter; on disk one after the other, little-endian, each with all rows
COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("recv_us", "q"),
    ("duration_us", "q"),
    ("seq", "Q"),
    ("gop", "Q"),
    ("offset", "Q"),
    ("cam_us", "q"),
    ("base_dts", "q"),
    ("base_pts", "q"),
    ("length", "I"),
    ("table_len", "I"),
    ("frame_count", "I"),
    ("config", "I"),
    ("lost_packets", "I"),
    ("damaged_count", "I"),
    ("clock_run", "I"),
    ("flags", "H"),
    ("kind", "B"),
    ("key_type", "B"),
)
WIDTHS: Final = {"q": 8, "Q": 8, "I": 4, "H": 2, "B": 1}
ROW_BYTES: Final = sum(WIDTHS[letter] for _, letter in COLUMNS)
NO_CONFIG: Final = (1 << 32) - 1


class ChunkRow(NamedTuple):
    """One row. `offset` is the chunk's first byte in the segment file, `config` an index into the track's configs."""

    recv_us: int
    duration_us: int
    seq: int
    gop: int
    offset: int
    cam_us: int
    base_dts: int
    base_pts: int
    length: int
    table_len: int
    frame_count: int
    config: int
    lost_packets: int
    damaged_count: int
    clock_run: int
    flags: int
    kind: int
    key_type: int

    @property
    def end_us(self) -> int:
        return self.recv_us + self.duration_us

    @property
    def payload_len(self) -> int:
        """Bytes of the payload with its salt."""
        return self.length - self.table_len - CHUNK_HEADER_BYTES


class ChunkColumns:
    """Rows in seq order. `ordered`: recv_us never falls, so it may be searched by bisection."""

    __slots__ = (*(name for name, _ in COLUMNS), "count", "ordered")

    recv_us: array[int]
    duration_us: array[int]
    seq: array[int]
    gop: array[int]
    offset: array[int]
    cam_us: array[int]
    base_dts: array[int]
    base_pts: array[int]
    length: array[int]
    table_len: array[int]
    frame_count: array[int]
    config: array[int]
    lost_packets: array[int]
    damaged_count: array[int]
    clock_run: array[int]
    flags: array[int]
    kind: array[int]
    key_type: array[int]

    def __init__(self) -> None:
        for name, letter in COLUMNS:
            setattr(self, name, array(letter))
        self.count = 0  # rows a reader may look at; raised by `publish`
        self.ordered = True

    def __len__(self) -> int:
        return len(self.seq)

    def append(self, header: ChunkHeader, offset: int, config: int) -> None:
        """Add a row that readers do not see before `publish`."""
        if len(self.recv_us) and header.recv_us < self.recv_us[-1]:
            self.ordered = False
        self.recv_us.append(header.recv_us)
        self.duration_us.append(header.duration_us)
        self.gop.append(header.gop)
        self.offset.append(offset)
        self.cam_us.append(header.cam_us)
        self.base_dts.append(header.base_dts)
        self.base_pts.append(header.base_pts)
        self.length.append(header.chunk_len)
        self.table_len.append(header.table_len)
        self.frame_count.append(header.frame_count)
        self.config.append(config)
        self.lost_packets.append(header.lost_packets)
        self.damaged_count.append(header.damaged_count)
        self.clock_run.append(header.clock_run)
        self.flags.append(header.flags)
        self.kind.append(header.kind)
        self.key_type.append(header.key_type)
        self.seq.append(header.seq)

    def publish(self) -> None:
        """Let readers see every row appended so far."""
        self.count = len(self.seq)

    def truncate(self, count: int) -> None:
        """Forget the rows from `count` on (their commit was never durable)."""
        for name, _ in COLUMNS:
            del getattr(self, name)[count:]
        self.count = min(self.count, count)

    def row(self, index: int) -> ChunkRow:
        return ChunkRow(
            self.recv_us[index], self.duration_us[index], self.seq[index], self.gop[index], self.offset[index],
            self.cam_us[index], self.base_dts[index], self.base_pts[index], self.length[index],
            self.table_len[index], self.frame_count[index], self.config[index], self.lost_packets[index],
            self.damaged_count[index], self.clock_run[index], self.flags[index], self.kind[index],
            self.key_type[index],
        )  # fmt: skip

    def encode(self) -> bytes:
        """All rows as stored in a footer: column after column."""
        parts = []
        for name, _ in COLUMNS:
            column: array[int] = getattr(self, name)
            if sys.byteorder == "big":
                column = array(column.typecode, column)
                column.byteswap()
            parts.append(column.tobytes())
        return b"".join(parts)

    @classmethod
    def decode(cls, raw: bytes | memoryview, count: int) -> ChunkColumns:
        """Raise FormatError when `raw` is not exactly `count` rows. All rows are published."""
        if len(raw) != count * ROW_BYTES:
            raise FormatError("chunk index has another length than its count says")
        if not count:
            return cls()
        columns, position, view = cls.__new__(cls), 0, memoryview(raw)
        for name, letter in COLUMNS:
            size = WIDTHS[letter] * count
            column = array(letter)
            column.frombytes(view[position : position + size])
            if sys.byteorder == "big":
                column.byteswap()
            setattr(columns, name, column)
            position += size
        recv = columns.recv_us.tolist()
        columns.ordered = recv == sorted(recv)
        columns.publish()
        return columns
