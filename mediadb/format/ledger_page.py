"""Framing of the ledger: pages of records, each append whole pages.

Law: records to page bytes and back. A page batch begins and ends on 4 KiB, so a page with durable records is never
written again. A batch that does not verify is a torn tail or damage; readers go on at the next 4 KiB. Record bodies
are JSON (`mediadb.format.records`); what the kinds mean is listed in docs/format/ledger.md.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from mediadb.errors import FormatError
from mediadb.format.checksum import crc32
from mediadb.format.constants import BLOCK_ALIGN, MAGIC_PAGE, VERSION, align_up
from mediadb.format.records import Record, dump_record, load_record

# magic, header_len, version, batch_len, body_len, count, epoch, number, run, wall_us, body_crc, crc
PAGE_STRUCT: Final = struct.Struct("<4sHHIIIIQQqII8x")
PAGE_FIELDS: Final = (
    "magic", "header_len", "version", "batch_len", "body_len", "count", "epoch", "number", "run", "wall_us",
    "body_crc", "crc",
)  # fmt: skip
PAGE_HEADER_BYTES: Final = PAGE_STRUCT.size
_CRC_AT: Final = 52  # bytes before it are under the header's CRC
# length of the JSON body, kind, zero, time_us
RECORD_STRUCT: Final = struct.Struct("<IHHq")
MAX_BATCH_BYTES: Final = 64 << 20


class LedgerKind(enum.IntEnum):
    """What a record says. Numbers are never reused; readers skip unknown ones."""

    RUN_START = 1
    RUN_STOP = 2
    SEGMENT_BIRTH = 3
    SEGMENT_SEAL = 4
    REMOVED = 5
    COVER = 6
    GAP = 7
    ALIVE = 8
    TROUBLE = 9
    LINK = 10
    POISONED = 11
    TRACK = 12
    GROOMED = 13
    LANE = 14
    DAMAGED = 15
    MOVED = 16
    WAITED = 17
    CLOCK = 18
    CONDENSED = 19
    FORGOTTEN = 20


class LedgerRecord(NamedTuple):
    """One record. `run` and `epoch` are those of the writing process; `time_us` is recorder UTC."""

    kind: int
    time_us: int
    body: Record
    run: int = 0
    epoch: int = 0


class Page(NamedTuple):
    """A verified batch and its length on disk."""

    number: int
    run: int
    epoch: int
    wall_us: int
    batch_len: int
    records: list[LedgerRecord]


def encode_page(records: Sequence[LedgerRecord], run: int, epoch: int, number: int, wall_us: int) -> bytes:
    """One batch, padded to whole pages."""
    parts = []
    for record in records:
        body = dump_record(record.body)
        parts.append(RECORD_STRUCT.pack(len(body), record.kind, 0, record.time_us) + body)
    body = b"".join(parts)
    batch_len = align_up(PAGE_HEADER_BYTES + len(body))
    head = PAGE_STRUCT.pack(
        MAGIC_PAGE, PAGE_HEADER_BYTES, VERSION, batch_len, len(body), len(records), epoch, number, run, wall_us,
        crc32(body), 0,
    )  # fmt: skip
    crc = struct.pack("<I", crc32(head[:_CRC_AT]))
    head = head[:_CRC_AT] + crc + head[_CRC_AT + 4 :]
    return head + body + bytes(batch_len - len(head) - len(body))


def decode_page(raw: bytes | memoryview, offset: int = 0) -> Page:
    """Raise FormatError when no verified batch begins at `offset`."""
    if len(raw) - offset < PAGE_HEADER_BYTES:
        raise FormatError("ledger page is cut short")
    f = PAGE_STRUCT.unpack_from(raw, offset)
    magic, header_len, version, batch_len, body_len, count, epoch, number, run, wall_us, body_crc, crc = f
    if magic != MAGIC_PAGE or header_len != PAGE_HEADER_BYTES or version != VERSION:
        raise FormatError("no ledger page here")
    if crc != crc32(raw[offset : offset + _CRC_AT]):
        raise FormatError("ledger page header does not verify")
    if batch_len > MAX_BATCH_BYTES or batch_len != align_up(PAGE_HEADER_BYTES + body_len):
        raise FormatError("ledger page claims an impossible length")
    start = offset + PAGE_HEADER_BYTES
    body = bytes(raw[start : start + body_len])
    if len(body) != body_len or crc32(body) != body_crc:
        raise FormatError("ledger page body does not verify")
    return Page(number, run, epoch, wall_us, batch_len, list(_records(body, count, run, epoch)))


def scan_pages(raw: bytes) -> Iterator[tuple[int, Page | None]]:
    """All batches of a ledger file as (offset, page); None for each 4 KiB that is no batch and not all zero."""
    offset = 0
    while offset < len(raw):
        try:
            page = decode_page(raw, offset)
        except FormatError:
            if any(raw[offset : offset + BLOCK_ALIGN]):
                yield offset, None
            offset += BLOCK_ALIGN
            continue
        yield offset, page
        offset += page.batch_len


def walk_pages(pread: Callable[[int, int], bytes], begin: int, end: int) -> Iterator[tuple[int, Page]]:
    """Verified batches of [begin, end) of a ledger file, read one by one through `pread(length, offset)`."""
    offset = begin
    while offset < end:
        raw = pread(BLOCK_ALIGN, offset)
        try:
            length = PAGE_STRUCT.unpack_from(raw)[3] if raw[:4] == MAGIC_PAGE and len(raw) == BLOCK_ALIGN else 0
            if BLOCK_ALIGN < length <= min(MAX_BATCH_BYTES, end - offset):
                raw = pread(length, offset)
            page = decode_page(raw)
        except FormatError:
            offset += BLOCK_ALIGN
            continue
        yield offset, page
        offset += page.batch_len


def _records(body: bytes, count: int, run: int, epoch: int) -> Iterator[LedgerRecord]:
    at = 0
    for _ in range(count):
        if at + RECORD_STRUCT.size > len(body):
            raise FormatError("ledger record is cut short")
        length, kind, _, time_us = RECORD_STRUCT.unpack_from(body, at)
        at += RECORD_STRUCT.size
        yield LedgerRecord(kind, time_us, load_record(body[at : at + length]), run, epoch)
        at += length
