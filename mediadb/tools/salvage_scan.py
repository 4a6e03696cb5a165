"""Everything that verifies by itself in a file, an image or a device, whatever is left of the structures around it.

Law: reads only, in pieces of a few MiB; bytes that cannot be read are skipped and counted. A chunk is given when its
header, its table, its payload and its SHA-256 verify; ledger pages, block and segment headers when their CRC does.
Trusts no name, no footer and no length before its checksum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from mediadb.errors import FormatError
from mediadb.format.block import BLOCK_HEADER_BYTES, ENTRY_PLACE, BlockHeader, decode_block_header
from mediadb.format.chunk import CHUNK_HEADER_BYTES, ChunkHeader, check_body_hash, check_chunk, decode_chunk_header
from mediadb.format.constants import MAGIC_BLOCK, MAGIC_CHUNK, MAGIC_PAGE, MAGIC_SEGMENT
from mediadb.format.ledger_page import MAX_BATCH_BYTES, PAGE_HEADER_BYTES, PAGE_STRUCT, Page, decode_page
from mediadb.format.segment_header import SEGMENT_HEADER_BYTES, SegmentHeader, decode_segment_header
from mediadb.fs import Fs

WINDOW: Final = 4 << 20
SECTOR: Final = 512  # blocks, headers and pages begin on a multiple of it, wherever a file system put them
RETRY: Final = 4096  # a piece that cannot be read is tried again in pieces of this size
LONGEST_CHUNK: Final = 320 << 20  # the writer splits far below
MAX_PLACES: Final = 1000


class FoundChunk(NamedTuple):
    """A chunk that verifies, and where it lay."""

    header: ChunkHeader
    raw: bytes  # header, table and payload
    offset: int


@dataclass(slots=True)
class Losses:
    """What could not be used: unreadable bytes, and chunks whose header verifies and whose content does not."""

    unreadable_bytes: int = 0
    unreadable: list[tuple[str, int, int]] = field(default_factory=list)  # file, offset, length; the first 1000
    damaged: dict[bytes, int] = field(default_factory=dict)  # chunks by track

    def note(self, path: Path, offset: int, length: int) -> None:
        self.unreadable_bytes += length
        last = self.unreadable[-1] if self.unreadable else None
        if last is not None and (last[0], last[1] + last[2]) == (str(path), offset):
            self.unreadable[-1] = (last[0], last[1], last[2] + length)
        elif len(self.unreadable) < MAX_PLACES:
            self.unreadable.append((str(path), offset, length))


Found = FoundChunk | BlockHeader | SegmentHeader | Page


class Source:
    """One file or device, read through a window."""

    def __init__(self, fs: Fs, path: Path, losses: Losses) -> None:
        self._fs, self.path, self._losses = fs, path, losses
        self._fd = fs.open_read(path)
        self.size = fs.fstat(self._fd).size
        self._start, self._window = 0, b""

    def close(self) -> None:
        self._fs.close(self._fd)

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes, zeroes where they cannot be read."""
        inside = offset - self._start
        if inside >= 0 and inside + length <= len(self._window):
            return self._window[inside : inside + length]
        return self._fetch(offset, min(length, max(0, self.size - offset)))

    def window(self, offset: int) -> bytes:
        """The window that begins at `offset`."""
        self._start, self._window = offset, self._fetch(offset, min(WINDOW, max(0, self.size - offset)))
        return self._window

    def _fetch(self, offset: int, length: int) -> bytes:
        try:
            return self._fs.pread(self._fd, length, offset)
        except OSError:
            pass  # piece by piece, so that only what is bad is missing
        parts = []
        for at in range(offset, offset + length, RETRY):
            piece = min(RETRY, offset + length - at)
            try:
                raw = self._fs.pread(self._fd, piece, at)
            except OSError:
                raw = b""
                self._losses.note(self.path, at, piece)
            parts.append(raw + bytes(piece - len(raw)))
        return b"".join(parts)


_MAGICS: Final = (MAGIC_CHUNK, MAGIC_BLOCK, MAGIC_SEGMENT, MAGIC_PAGE)
_OVERLAP: Final = max(map(len, _MAGICS)) - 1


def scan(source: Source, losses: Losses) -> Iterator[Found]:
    """Everything in a source that verifies, in the order it lies there."""
    start = 0
    while start < source.size:
        window = source.window(start)
        end = start + len(window)
        stop = source.size if end >= source.size or not window else end - _OVERLAP
        at = start
        while (hit := _next(window, at - start)) is not None and start + hit < stop:
            found, step = _at(source, losses, start + hit)
            if found is not None:
                yield found
            at = start + hit + step
            if at >= stop:
                break
        start = max(stop, at)


def _next(window: bytes, at: int) -> int | None:
    """Where the next magic begins."""
    return min((hit for magic in _MAGICS if (hit := window.find(magic, at)) >= 0), default=None)


def _at(source: Source, losses: Losses, offset: int) -> tuple[Found | None, int]:
    """What begins at `offset`, and how far to go on."""
    magic = source.read(offset, 4)
    try:
        if magic == MAGIC_CHUNK:
            return _chunk(source, losses, offset)
        if offset % SECTOR:
            return None, 1
        if magic == MAGIC_BLOCK:
            return decode_block_header(source.read(offset, BLOCK_HEADER_BYTES)), BLOCK_HEADER_BYTES
        if magic == MAGIC_PAGE:
            return _page(source, offset)
        return decode_segment_header(source.read(offset, SEGMENT_HEADER_BYTES)), SEGMENT_HEADER_BYTES
    except FormatError:
        return None, 1


def _page(source: Source, offset: int) -> tuple[Page, int]:
    head = source.read(offset, PAGE_HEADER_BYTES)
    if len(head) < PAGE_HEADER_BYTES:
        raise FormatError("cut short")
    page = decode_page(source.read(offset, min(PAGE_STRUCT.unpack(head)[3], MAX_BATCH_BYTES)))
    return page, page.batch_len


def _chunk(source: Source, losses: Losses, offset: int) -> tuple[FoundChunk | None, int]:
    header = decode_chunk_header(source.read(offset, CHUNK_HEADER_BYTES))
    if _is_copy(source, offset, header):
        return None, CHUNK_HEADER_BYTES
    length = header.chunk_len
    table_end = CHUNK_HEADER_BYTES + header.table_len
    raw = b"" if length > LONGEST_CHUNK or offset + length > source.size else source.read(offset, length)
    view = memoryview(raw)
    wrong = check_chunk(header, view[CHUNK_HEADER_BYTES:table_end], view[table_end:])
    if wrong is None and check_body_hash(header, view[table_end:]):
        return FoundChunk(header, raw, offset), length
    losses.damaged[header.track] = losses.damaged.get(header.track, 0) + 1
    return None, CHUNK_HEADER_BYTES


def _is_copy(source: Source, offset: int, header: ChunkHeader) -> bool:
    """A block's directory repeats the header of each chunk behind its place and length."""
    if offset < ENTRY_PLACE.size:
        return False
    _, length, zero = ENTRY_PLACE.unpack(source.read(offset - ENTRY_PLACE.size, ENTRY_PLACE.size))
    return bool(length == header.chunk_len and zero == 0)
