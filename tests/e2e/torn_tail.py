"""What a cut of power may leave behind the last commit of an unsealed segment: a block without its payload.

Law: made from docs/format alone. The block bears the next commit number, its chunks the next sequence numbers, header
and directory verify, and the second half of the bytes behind them never came to the disk. Nobody was ever told of it,
so nothing is lost by it, and no byte of it may ever be shown.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from tests.mediadb import oracle as parser

ENTRY = 272


def lay_torn_block(path: Path) -> bool:
    """Behind the last whole block of `path`; False when there is none to take after."""
    raw = path.read_bytes()
    blocks = parser.blocks(raw) if len(raw) > parser.PAGE else []
    if not blocks or not any(chunk.kind in parser.MEDIA for chunk in blocks[-1].chunks):
        return False
    last = blocks[-1]
    block = bytearray(raw[last.offset : last.offset + last.length])
    directory = parser.u(block, 12, 4)
    steps = {
        chunk.track: 1 + max(c.seq for c in last.chunks if c.track == chunk.track and c.kind != parser.CONFIG)
        - min(c.seq for c in last.chunks if c.track == chunk.track and c.kind != parser.CONFIG)
        for chunk in last.chunks
        if chunk.kind != parser.CONFIG
    }  # fmt: skip
    for n, chunk in enumerate(last.chunks):
        entry = directory + n * ENTRY
        at = parser.u(block, entry, 8)
        if chunk.kind != parser.CONFIG:
            head = block[at : at + 256]
            seq = chunk.seq + steps[chunk.track]
            head[40:48] = struct.pack("<Q", seq)
            if chunk.gop != parser.NONE:
                head[48:56] = struct.pack("<Q", chunk.gop + steps[chunk.track] if chunk.kind == 1 else chunk.gop)
            head[252:256] = struct.pack("<I", zlib.crc32(head[:252]))
            block[at : at + 256] = head
            block[entry + 16 : entry + ENTRY] = head
            payload = at + 256 + parser.u(head, 128, 4)
            middle, end = payload + parser.u(head, 132, 4) // 2, at + chunk.length
            block[middle:end] = bytes(end - middle)
    block[32:40] = struct.pack("<Q", last.counter + 1)
    entries = block[directory : directory + len(last.chunks) * ENTRY]
    block[108:112] = struct.pack("<I", zlib.crc32(entries))
    block[124:128] = struct.pack("<I", zlib.crc32(block[:124]))
    with path.open("r+b") as file:
        file.seek(last.offset + last.length)
        file.write(block)
    return True
