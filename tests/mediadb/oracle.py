"""A second parser of segments, written from docs/format alone: it imports nothing of the product.

Slow and plain on purpose. It walks commit blocks (or only what a footer lists) and gives back samples; every CRC and
SHA-256 on the way is checked with its own arithmetic.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass, field

PAGE = 4096
NONE = (1 << 64) - 1
MEDIA = (1, 2, 3, 4, 5)
CONFIG, GAP, MARK = 6, 7, 8


@dataclass
class Chunk:
    kind: int
    track: bytes
    run: int
    seq: int
    gop: int
    offset: int
    length: int
    recv_us: int
    base_pts: int
    base_dts: int
    flags: int
    key_type: int
    payload: bytes
    samples: list[tuple[bytes, int, int, int, int, bool]] = field(default_factory=list)  # data pts dts key lost damaged


@dataclass
class Block:
    offset: int
    length: int
    epoch: int
    counter: int
    durable: tuple[int, int]
    supersedes: tuple[bytes, int, int] | None
    chunks: list[Chunk]


def u(raw: bytes, at: int, size: int) -> int:
    return int.from_bytes(raw[at : at + size], "little")


def i(raw: bytes, at: int, size: int) -> int:
    return int.from_bytes(raw[at : at + size], "little", signed=True)


def check(condition: bool, text: str) -> None:
    if not condition:
        raise AssertionError(text)


def segment_header(raw: bytes) -> dict[str, object]:
    check(raw[:8] == b"RMDBSEG\0", "segment magic")
    check(zlib.crc32(raw[:124]) == u(raw, 124, 4), "segment header crc")
    check(raw[128:PAGE] == bytes(PAGE - 128), "segment header padding")
    return {"segment": raw[32:48], "log": raw[48:64], "run": u(raw, 96, 8), "epoch": u(raw, 104, 4)}


def blocks(raw: bytes) -> list[Block]:
    """All complete commit blocks from the front, up to the footer, a torn tail or damage."""
    header = segment_header(raw)
    out, at = [], PAGE
    while at + PAGE <= len(raw) and raw[at : at + 4] == b"RBLK":
        if zlib.crc32(raw[at : at + 124]) != u(raw, at + 124, 4):
            break
        count, dir_offset, length = u(raw, at + 8, 4), u(raw, at + 12, 4), u(raw, at + 16, 8)
        check(raw[at + 56 : at + 72] == header["segment"], "block of another segment")
        check(length % PAGE == 0 and u(raw, at + 6, 2) == 272, "block sizes")
        directory = raw[at + dir_offset : at + dir_offset + count * 272]
        if len(directory) != count * 272 or zlib.crc32(directory) != u(raw, at + 108, 4):
            break
        found = [_chunk(raw, at, directory[n * 272 : n * 272 + 272]) for n in range(count)]
        if any(chunk is None for chunk in found):
            break
        old = raw[at + 80 : at + 96]
        supersedes = None if old == bytes(16) else (old, u(raw, at + 104, 4), u(raw, at + 96, 8))
        out.append(
            Block(at, length, u(raw, at + 24, 4), u(raw, at + 32, 8), (u(raw, at + 28, 4), u(raw, at + 40, 8)),
                  supersedes, [chunk for chunk in found if chunk])
        )  # fmt: skip
        at += length
    return out


def _chunk(raw: bytes, block: int, entry: bytes) -> Chunk | None:
    offset, length = u(entry, 0, 8), u(entry, 8, 4)
    body = raw[block + offset : block + offset + length]
    if len(body) != length or body[:256] != entry[16:]:
        return None
    return parse_chunk(body, block + offset)


def parse_chunk(body: bytes, offset: int) -> Chunk | None:
    """None when it does not verify."""
    if body[:4] != b"RCHK" or zlib.crc32(body[:252]) != u(body, 252, 4):
        return None
    table_len, payload_len = u(body, 128, 4), u(body, 132, 4)
    table, payload = body[256 : 256 + table_len], body[256 + table_len : 256 + table_len + payload_len]
    if zlib.crc32(table) != u(body, 140, 4) or zlib.crc32(payload) != u(body, 144, 4):
        return None
    check(hashlib.sha256(payload).digest() == body[216:248], "body hash")
    chunk = Chunk(
        body[6], body[16:32], u(body, 32, 8), u(body, 40, 8), u(body, 48, 8), offset, len(body), i(body, 64, 8),
        i(body, 80, 8), i(body, 88, 8), u(body, 8, 2), body[11], payload,
    )  # fmt: skip
    if chunk.kind in MEDIA:
        _samples(chunk, table, u(body, 60, 4), body[184:216])
    return chunk


def _samples(chunk: Chunk, table: bytes, count: int, frames_hash: bytes) -> None:
    at, columns = 0, []
    for number in range(5):
        rows = max(count - 1, 1) if number == 0 else count
        code = table[at]
        size, signed = code & 0x0F, bool(code & 0x80)
        stored = 1 if code & 0x40 else rows
        at += 1
        values = [
            int.from_bytes(table[at + n * size : at + n * size + size], "little", signed=signed) for n in range(stored)
        ]
        at += stored * size
        columns.append(values * rows if code & 0x40 else values)
    check(at == len(table), "frame table length")
    deltas, cts, sizes, marks, lost = columns
    dts, position, rows_raw = 0, 16, b""
    for n in range(count):
        dts += deltas[n - 1] if n else 0
        data = chunk.payload[position : position + sizes[n]]
        position += sizes[n]
        rows_raw += struct.pack("<IIi", sizes[n], dts, cts[n])
        at_dts = chunk.base_dts + dts
        chunk.samples.append((data, at_dts + cts[n], at_dts, marks[n] >> 1, lost[n], bool(marks[n] & 1)))
    check(position == len(chunk.payload), "payload length")
    check(hashlib.sha256(rows_raw).digest() == frames_hash, "frames hash")


def footer_chunks(raw: bytes) -> dict[bytes, list[tuple[int, int, int]]]:
    """What the footer of a sealed segment lists per track: (seq, offset, length) of media chunks."""
    end = raw[-64:]
    check(end[:8] == b"RMDBEND\0" and zlib.crc32(end[:60]) == u(end, 60, 4), "trailer")
    head_at, head_len = u(end, 8, 8), u(end, 16, 8)
    head = raw[head_at : head_at + head_len]
    check(head[:4] == b"RFTR" and zlib.crc32(head) == u(end, 48, 4), "footer head")
    out: dict[bytes, list[tuple[int, int, int]]] = {}
    for n in range(u(head, 12, 4)):
        row = head[104 + n * 144 : 104 + n * 144 + 144]
        media, configs = u(row, 20, 4), u(row, 28, 4)
        at, length = u(row, 96, 8), u(row, 104, 8)
        region = raw[at : at + length]
        check(zlib.crc32(region) == u(row, 136, 4), "index region")
        columns = region[configs * 48 :]
        seqs = [u(columns, media * 16 + k * 8, 8) for k in range(media)]
        offsets = [u(columns, media * 32 + k * 8, 8) for k in range(media)]
        lengths = [u(columns, media * 64 + k * 4, 4) for k in range(media)]
        out[row[:16]] = list(zip(seqs, offsets, lengths, strict=True))
    return out
