"""JPEG images as RFC 2435 packets, written by hand: shapes that FFmpeg does not send."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from rtp_bench import rtp

from recorderd.media import jpeg


def image(width: int, height: int, seed: int = 1, options: dict[str, str] | None = None) -> bytes:
    """A noisy 4:2:0 JPEG with the standard Huffman tables."""
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuvj420p"
    context.time_base = Fraction(1, 25)
    context.qmin = context.qmax = 4 + seed % 5
    context.options = {"huffman": "default", **(options or {})}
    if options and "slices" in options:
        context.thread_count = int(options["slices"])
        context.thread_type = "SLICE"
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format="yuvj420p", dst_color_range="JPEG")
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def pixels(data: bytes) -> Any:
    """Decoded planes."""
    context = av.CodecContext.create("mjpeg", "r")
    (frame, *_) = [*context.decode(av.Packet(data)), *context.decode(None)]
    return frame.to_ndarray()


@dataclass
class Parsed:
    """An image taken apart. `headers`: segments between SOI and the scan."""

    headers: list[jpeg.Segment]
    scan: bytes
    interval: int = 0
    tables: list[bytes] = field(default_factory=list)


def parse(data: bytes) -> Parsed:
    headers = list(jpeg.segments(data))
    at = data.index(headers[-1].raw) + len(headers[-1].raw)
    parsed = Parsed(headers, data[at:])
    for one in headers:
        if one.marker == jpeg.DRI:
            parsed.interval = int.from_bytes(one.body, "big")
        elif one.marker == jpeg.DQT:
            body = one.body
            while body:
                parsed.tables.append(body[1:65])
                body = body[65:]
    if len(parsed.tables) == 1:
        parsed.tables *= 2
    return parsed


@dataclass(frozen=True)
class Shape:
    """How to send: `blocks` of 8 pixels across and down."""

    blocks: tuple[int, int]
    q: int = 255
    with_tables: bool = True
    piece: int = 700


def packets(parsed: Parsed, shape: Shape, seq: int, timestamp: int) -> list[bytes]:
    """The packets of one image."""
    out, at = [], 0
    kind = 1 | (0x40 if parsed.interval else 0)
    while at < len(parsed.scan):
        head = b"\x00" + at.to_bytes(3, "big") + bytes((kind, shape.q, *shape.blocks))
        if parsed.interval:
            head += parsed.interval.to_bytes(2, "big") + b"\xff\xff"
        if at == 0 and shape.q >= 128:
            tables = b"".join(parsed.tables) if shape.with_tables else b""
            head += b"\x00\x00" + len(tables).to_bytes(2, "big") + tables
        piece = parsed.scan[at : at + shape.piece]
        at += len(piece)
        out.append(rtp(head + piece, seq + len(out), timestamp, at >= len(parsed.scan), pt=26))
    return out


def extended(packet: bytes, identity: int, content: bytes) -> bytes:
    """The packet with a header extension; `content` is padded in front of its last segment by the caller."""
    assert len(content) % 4 == 0
    extension = identity.to_bytes(2, "big") + (len(content) // 4).to_bytes(2, "big") + content
    return bytes((packet[0] | 0x10,)) + packet[1:12] + extension + packet[12:]
