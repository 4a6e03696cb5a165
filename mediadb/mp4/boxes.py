"""ISO base media boxes (ISO/IEC 14496-12 §4.2): cutting bytes into boxes and building boxes from bytes.

Law: knows sizes, versions and flags of boxes and nothing of what they mean. Every length in a file is taken for a
lie until it fits into its parent; whatever does not fit ends in an `Mp4Error` that names place and offset. All of
`mediadb.mp4` is sans-IO: bytes come in through a `read` callable or a buffer, bytes go out as return values.
Called by the other modules of this package only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

ReadAt = Callable[[int, int], bytes]
"""`read(offset, length_bytes)`: the bytes there, fewer only at the end of the file."""


class Mp4Error(ValueError):
    """The bytes are no MP4 that can be read.

    `place` is the path of boxes (`moov/trak/mdia`), `offset` the byte in the file, `cause` what is wrong there.
    `code` is stable and never translated.
    """

    code = "mp4-invalid"

    def __init__(self, place: str, offset: int, cause: str) -> None:
        super().__init__(f"{place or 'file'} at byte {offset}: {cause}")
        self.place = place
        self.offset = offset
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may ask of its reader. Memory stays proportional to the file whatever these say."""

    max_header_bytes: int = 1 << 30  # one moov or moof
    max_boxes: int = 1 << 20
    max_depth: int = 12
    max_tracks: int = 64
    max_samples: int = 1 << 25  # of all tracks together


class Budget:
    """Counts boxes down over a whole file, so that nothing hides a million of them in nested containers."""

    __slots__ = ("boxes_left", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.boxes_left = limits.max_boxes

    def spend(self, place: str, offset: int) -> None:
        self.boxes_left -= 1
        if self.boxes_left < 0:
            raise Mp4Error(place, offset, f"more than {self.limits.max_boxes} boxes")


class Fields:
    """A cursor over one box payload; every read past its end is an `Mp4Error`."""

    __slots__ = ("at", "base", "place", "view")

    def __init__(self, view: memoryview, place: str, base: int) -> None:
        self.view = view
        self.place = place
        self.base = base  # file offset of view[0], for error messages
        self.at = 0

    @property
    def left_bytes(self) -> int:
        return len(self.view) - self.at

    def error(self, cause: str) -> Mp4Error:
        return Mp4Error(self.place, self.base + self.at, cause)

    def take(self, length: int) -> memoryview:
        if length < 0 or length > self.left_bytes:
            raise self.error(f"{length} bytes announced, {self.left_bytes} there")
        part = self.view[self.at : self.at + length]
        self.at += length
        return part

    def uint(self, size_bytes: int) -> int:
        return int.from_bytes(self.take(size_bytes), "big")

    def sint(self, size_bytes: int) -> int:
        return int.from_bytes(self.take(size_bytes), "big", signed=True)

    def version_flags(self) -> tuple[int, int]:
        """Version and flags of a full box (§4.2)."""
        word = self.uint(4)
        return word >> 24, word & 0xFFFFFF

    def rows(self, count: int, row_bytes: int) -> memoryview:
        """`count` table rows; the count is checked against the bytes that are there before anything is made."""
        if count * row_bytes > self.left_bytes:
            raise self.error(f"{count} rows announced, room for {self.left_bytes // row_bytes}")
        return self.take(count * row_bytes)


@dataclass(frozen=True, slots=True)
class BoxHead:
    """Where one box lies. `end_bytes` is cut to the parent only by `read_top_level`, which then sets `cut`."""

    type: bytes
    start: int
    payload: int
    end: int
    cut: bool = False


def parse_head(raw: bytes | memoryview, start: int, end: int, place: str) -> BoxHead:
    """Reads a box header at file offset `start`; `raw` holds its first bytes, `end` is where the parent ends."""
    if len(raw) < 8:
        raise Mp4Error(place, start, f"{len(raw)} bytes left, a box needs 8")
    size, kind = struct.unpack_from(">I4s", raw)
    header = 8
    if size == 1:
        if len(raw) < 16:
            raise Mp4Error(place, start, "64-bit box size cut short")
        size = int.from_bytes(raw[8:16], "big")
        header = 16
    elif size == 0:
        size = end - start
    if size < header:
        raise Mp4Error(place, start, f"box size {size} below its own header")
    return BoxHead(kind, start, start + header, start + size)


def read_top_level(read: ReadAt, file_bytes: int, budget: Budget) -> Iterator[BoxHead]:
    """The boxes of a file in order. A last box that claims more than the file holds is cut and marked, because a
    torn file may still have all its samples; everything else that does not fit is an error."""
    at = 0
    while at < file_bytes:
        budget.spend("", at)
        head = parse_head(read(at, min(16, file_bytes - at)), at, file_bytes, "")
        if head.end > file_bytes:
            head = BoxHead(head.type, head.start, head.payload, file_bytes, cut=True)
        yield head
        at = head.end


def children(fields: Fields, budget: Budget, depth: int) -> Iterator[tuple[bytes, Fields]]:
    """The boxes from the cursor to the end of `fields`, each as (type, cursor over its payload)."""
    if depth > budget.limits.max_depth:
        raise fields.error(f"boxes nested deeper than {budget.limits.max_depth}")
    end = fields.base + len(fields.view)
    while fields.left_bytes:
        start = fields.base + fields.at
        budget.spend(fields.place, start)
        head = parse_head(fields.view[fields.at : fields.at + 16], start, end, fields.place)
        if head.end > end:
            raise Mp4Error(fields.place, start, f"box ends {head.end - end} bytes after its parent")
        name = head.type.decode("latin-1")
        payload = fields.view[head.payload - fields.base : head.end - fields.base]
        fields.at = head.end - fields.base
        place = f"{fields.place}/{name}" if fields.place else name
        yield head.type, Fields(payload, place, head.payload)


def box(kind: bytes, *parts: bytes) -> bytes:
    """One box; with a 64-bit size only when the 32-bit one cannot hold it."""
    size = 8 + sum(map(len, parts))
    if size < 1 << 32:
        return b"".join((struct.pack(">I4s", size, kind), *parts))
    return b"".join((struct.pack(">I4sQ", 1, kind, size + 8), *parts))


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """One box that opens with version and flags (§4.2)."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)
