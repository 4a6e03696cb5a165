"""Where the structures of a file lie, how to change one number in them, and how to make their checksums right again.

Law: works on the bytes of an undamaged file; a change that is sealed again reaches the checks behind the CRC.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

from mediadb.errors import FormatError
from mediadb.format.block import BLOCK_STRUCT, ENTRY_BYTES, ENTRY_PLACE, decode_block_header, decode_directory
from mediadb.format.checksum import crc32
from mediadb.format.chunk import CHUNK_HEADER_BYTES, CHUNK_STRUCT
from mediadb.format.columns import COLUMNS, WIDTHS
from mediadb.format.constants import SALT_LEN
from mediadb.format.footer import (
    CONFIG_PLACE_STRUCT,
    FOOTER_STRUCT,
    SUMMARY_STRUCT,
    TRAILER_BYTES,
    TRAILER_STRUCT,
    decode_head,
    decode_trailer,
)
from mediadb.format.identity import LOG_SLOT_OFFSETS, LOG_STRUCT, VOLUME_STRUCT
from mediadb.format.ledger_page import PAGE_HEADER_BYTES, PAGE_STRUCT, RECORD_STRUCT, scan_pages
from mediadb.format.segment_header import SEGMENT_PAGE_BYTES, SEGMENT_STRUCT

Seal = Callable[[bytearray], None]
EDGES = (0, 1, 2, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1, -1, -(1 << 31), -(1 << 63))


@dataclass(frozen=True)
class Structure:
    """A struct at `at`. `seal` makes the checksums around it right again."""

    name: str
    at: int
    form: struct.Struct
    seal: Seal

    def change(self, rng: random.Random, raw: bytearray) -> str:
        """Put another number into one of its fields; says which."""
        values = list(self.form.unpack_from(raw, self.at))
        numbers = [i for i, value in enumerate(values) if isinstance(value, int)]
        field = rng.choice(numbers)
        old = values[field]
        offers = [*EDGES, old + 1, old - 1, old * 2, old + 4096, old ^ 1 << rng.randrange(32), rng.getrandbits(32)]
        rng.shuffle(offers)
        for offer in offers:
            if offer == old:
                continue
            try:
                self.form.pack_into(raw, self.at, *values[:field], offer, *values[field + 1 :])
            except struct.error:
                continue
            return f"{self.name} at {self.at}: number {field}: {old} -> {offer}"
        return f"{self.name}: nothing fits"


@dataclass(frozen=True)
class Shape:
    """`structures` of a file by area, and the bytes `[low, high)` of each area."""

    structures: dict[str, list[Structure]]
    areas: dict[str, list[tuple[int, int]]]


def crc_at(start: int, length: int, at: int) -> Seal:
    """The CRC of `length` bytes from `start` belongs at `at`."""

    def seal(raw: bytearray) -> None:
        struct.pack_into("<I", raw, at, crc32(raw[start : start + length]))

    return seal


def both(*seals: Seal) -> Seal:
    def seal(raw: bytearray) -> None:
        for one in seals:
            one(raw)

    return seal


def segment_shape(raw: bytes) -> Shape:
    header = Structure("segment header", 0, SEGMENT_STRUCT, crc_at(0, 124, 124))
    found: dict[str, list[Structure]] = {"segment": [header], "directory": [], "footer": []}
    areas: dict[str, list[tuple[int, int]]] = {"segment": [(0, len(raw))], "directory": [], "footer": []}
    at = SEGMENT_PAGE_BYTES
    while at < len(raw):
        try:
            block = decode_block_header(raw, at)
        except FormatError:
            break
        directory = at + block.dir_offset
        size = block.count * ENTRY_BYTES
        seal = both(crc_at(directory, size, at + 108), crc_at(at, 124, at + 124))
        found["directory"].append(Structure("block header", at, BLOCK_STRUCT, crc_at(at, 124, at + 124)))
        areas["directory"].append((at, directory + size))
        for number, entry in enumerate(decode_directory(block, raw[directory : directory + size])):
            place, chunk = directory + number * ENTRY_BYTES, at + entry.offset
            found["directory"].append(Structure("directory entry", place, ENTRY_PLACE, seal))
            copied = both(crc_at(chunk, 252, chunk + 252), _copy(chunk, place + 16), seal)
            found["segment"].append(Structure("chunk header", chunk, CHUNK_STRUCT, copied))
            end = chunk + entry.header.chunk_len
            areas["segment"] += [(chunk, end), (end - entry.header.payload_len + SALT_LEN, end)]
            table = _table_seal(chunk, entry.header.table_len)
            for offset in range(0, entry.header.table_len - 4, 4):
                where = chunk + CHUNK_HEADER_BYTES + offset
                found["segment"].append(Structure("frame table", where, struct.Struct("<BBBB"), both(table, copied)))
        at += block.block_len
    _footer(raw, found, areas)
    return Shape(found, areas)


def _copy(source: int, target: int) -> Seal:
    def seal(raw: bytearray) -> None:
        raw[target : target + CHUNK_HEADER_BYTES] = raw[source : source + CHUNK_HEADER_BYTES]

    return seal


def _table_seal(chunk: int, length: int) -> Seal:
    return crc_at(chunk + CHUNK_HEADER_BYTES, length, chunk + 140)


def _footer(raw: bytes, found: dict[str, list[Structure]], areas: dict[str, list[tuple[int, int]]]) -> None:
    try:
        trailer = decode_trailer(raw[-TRAILER_BYTES:], len(raw))
    except FormatError:
        return
    head = decode_head(raw[trailer.head_offset : trailer.head_offset + trailer.head_len], trailer)
    end = len(raw) - TRAILER_BYTES
    own = crc_at(end, TRAILER_BYTES - 4, end + TRAILER_BYTES - 4)
    whole = both(crc_at(trailer.head_offset, trailer.head_len, end + 48), own)
    areas["footer"].append((trailer.footer_offset, len(raw)))
    found["footer"] += [
        Structure("trailer", end, TRAILER_STRUCT, own),
        Structure("footer head", trailer.head_offset, FOOTER_STRUCT, whole),
    ]
    for number, track in enumerate(head.tracks):
        summary = trailer.head_offset + FOOTER_STRUCT.size + number * SUMMARY_STRUCT.size
        found["footer"].append(Structure("summary", summary, SUMMARY_STRUCT, whole))
        index = both(crc_at(track.index_offset, track.index_len, summary + 136), whole)
        at = track.index_offset
        for _ in range(track.config_count):
            found["footer"].append(Structure("config place", at, CONFIG_PLACE_STRUCT, index))
            at += CONFIG_PLACE_STRUCT.size
        for rows in (track.media_count, track.notes_count):
            for name, letter in COLUMNS:
                for _ in range(rows):
                    found["footer"].append(Structure(f"column {name}", at, struct.Struct("<" + letter), index))
                    at += WIDTHS[letter]


def pages_shape(raw: bytes, area: str) -> Shape:
    """A ledger file or a `.gone` journal."""
    found = []
    for at, page in scan_pages(raw):
        assert page is not None
        found.append(Structure("page header", at, PAGE_STRUCT, crc_at(at, 52, at + 52)))
        (length,) = struct.unpack_from("<I", raw, at + 12)
        body = both(crc_at(at + PAGE_HEADER_BYTES, length, at + 48), crc_at(at, 52, at + 52))
        place = at + PAGE_HEADER_BYTES
        for _ in page.records:
            found.append(Structure("record", place, RECORD_STRUCT, body))
            (size,) = struct.unpack_from("<I", raw, place)
            text = place + RECORD_STRUCT.size
            found += [Structure("record text", text + n, struct.Struct("<B"), body) for n in range(0, size, 3)]
            place = text + size
    return Shape({area: found}, {area: [(0, len(raw))]})


def log_shape(raw: bytes) -> Shape:
    slots = [Structure("slot", at, LOG_STRUCT, crc_at(at, 124, at + 124)) for at in LOG_SLOT_OFFSETS]
    return Shape({"log": slots}, {"log": [(0, len(raw))]})


def volume_shape(raw: bytes) -> Shape:
    return Shape({"volume": [Structure("VOLUME", 0, VOLUME_STRUCT, crc_at(0, 60, 60))]}, {"volume": [(0, len(raw))]})
