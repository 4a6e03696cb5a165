"""Reading a segment file without its index: walk the commit blocks, or take the footer.

Law: read only, never trusts a length before its CRC. Damage is noted and walked past: what follows is found at the next
page that begins a block of this segment. Recovery uses it, tools may.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mediadb.errors import FormatError
from mediadb.format.block import (
    BLOCK_HEADER_BYTES,
    ENTRY_BYTES,
    BlockHeader,
    Entry,
    decode_block_header,
    decode_directory,
)
from mediadb.format.chunk import CHUNK_HEADER_BYTES, check_chunk
from mediadb.format.constants import BLOCK_ALIGN
from mediadb.format.footer import TRAILER_BYTES, FooterHead, decode_head, decode_trailer
from mediadb.format.segment_header import SEGMENT_PAGE_BYTES, SegmentHeader, decode_segment_header
from mediadb.fs import Fs

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ScannedBlock:
    """A block whose header and directory verify; its payload was not looked at."""

    offset: int
    header: BlockHeader
    entries: list[Entry]

    @property
    def end(self) -> int:
        return self.offset + self.header.block_len


@dataclass(slots=True)
class SegmentScan:
    """What a walk found. `bad`: (offset, length) of pages that begin no block; the last one may be a footer."""

    header: SegmentHeader
    size: int
    blocks: list[ScannedBlock] = field(default_factory=list)
    bad: list[tuple[int, int]] = field(default_factory=list)

    @property
    def blank(self) -> bool:
        """Nothing was ever written behind the header."""
        return self.size <= SEGMENT_PAGE_BYTES


def scan_segment(fs: Fs, path: Path) -> SegmentScan:
    """Walk all blocks. Raises OSError, or FormatError when the file is no segment of ours."""
    fd = fs.open_read(path)
    try:
        size = fs.fstat(fd).size
        scan = SegmentScan(decode_segment_header(fs.pread(fd, SEGMENT_PAGE_BYTES, 0)), size)
        offset = SEGMENT_PAGE_BYTES
        while offset < size:
            block = _block_at(fs, fd, scan.header, offset)
            if block is None:
                offset = _skip(fs, fd, scan, offset)
            else:
                scan.blocks.append(block)
                offset = block.end
        return scan
    finally:
        fs.close(fd)


def never_begun(fs: Fs, path: Path) -> bool:
    """True for a file that a power cut left between its creation and its header: no byte in it but zeroes, and no
    room for a commit. Raises OSError."""
    fd = fs.open_read(path)
    try:
        size = fs.fstat(fd).size
        return size <= SEGMENT_PAGE_BYTES and not any(fs.pread(fd, size, 0))
    finally:
        fs.close(fd)


def read_footer(fs: Fs, path: Path) -> FooterHead:
    """The footer head of a sealed segment. Raises OSError or FormatError."""
    fd = fs.open_read(path)
    try:
        size = fs.fstat(fd).size
        trailer = decode_trailer(fs.pread(fd, TRAILER_BYTES, max(size - TRAILER_BYTES, 0)), size)
        return decode_head(fs.pread(fd, trailer.head_len, trailer.head_offset), trailer)
    finally:
        fs.close(fd)


def chunk_verifies(fs: Fs, fd: int, block: ScannedBlock, entry: Entry) -> bool:
    """Are the chunk's bytes in place, by header copy and CRC?"""
    raw = fs.pread(fd, entry.header.chunk_len, block.offset + entry.offset)
    table_end = CHUNK_HEADER_BYTES + entry.header.table_len
    if raw[:CHUNK_HEADER_BYTES] != entry.raw:
        return False
    view = memoryview(raw)
    return check_chunk(entry.header, view[CHUNK_HEADER_BYTES:table_end], view[table_end:]) is None


def _block_at(fs: Fs, fd: int, segment: SegmentHeader, offset: int) -> ScannedBlock | None:
    try:
        raw = fs.pread(fd, BLOCK_ALIGN, offset)
        header = decode_block_header(raw)
        if header.segment != segment.segment or header.run != segment.run:
            return None
        directory = header.dir_offset + header.count * ENTRY_BYTES
        if directory > len(raw):
            raw = fs.pread(fd, directory, offset)
        return ScannedBlock(offset, header, decode_directory(header, raw[header.dir_offset : directory]))
    except FormatError:
        return None


def _skip(fs: Fs, fd: int, scan: SegmentScan, offset: int) -> int:
    """The next page that begins with a block of this segment, or the end; the pages between are noted as bad."""
    start, at = offset, offset + BLOCK_ALIGN
    while at < scan.size:
        raw = fs.pread(fd, _READ_BYTES, at)
        for page in range(0, len(raw), BLOCK_ALIGN):
            if _begins_block(raw, page) and _block_at(fs, fd, scan.header, at + page) is not None:
                scan.bad.append((start, at + page - start))
                return at + page
        at += len(raw)
    scan.bad.append((start, scan.size - start))
    return scan.size


def _begins_block(raw: bytes, at: int) -> bool:
    if len(raw) - at < BLOCK_HEADER_BYTES:
        return False
    try:
        decode_block_header(raw, at)
    except FormatError:
        return False
    return True
