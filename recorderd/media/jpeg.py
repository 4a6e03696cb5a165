"""JPEG headers that RTP leaves out, and reading those it carries (ITU-T T.81; RFC 2435 appendices A and B).

Law: pure; makes and reads marker segments, never decodes a scan. BitstreamError for what cannot be read. Called by the
JPEG depacketiser and by senders of test streams.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.media.bits import BitstreamError

CLOCK_HZ = 90_000
SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SOF0, SOF1, SOF2, DHT, SOS, DQT, DRI, APP0 = 0xC0, 0xC1, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xE0
FRAMES = (SOF0, SOF1, SOF2)  # kinds of frame header that players know
_ALONE = frozenset({0x01, *range(0xD0, 0xDA)})  # markers without a length
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"

# T.81 annex K.1 and K.2 in zig-zag order
_LUMA = bytes.fromhex(
    "100b0c0e0c0a100e0d0e1211101318281a18161618312325"
    "1d283a333d3c393338374048"
    "5c4e404457453738506d51575f626768673e4d71797064785c656763"
)
_CHROMA = bytes.fromhex("1112121815182f1a1a2f63423842") + bytes((99,)) * 50

# T.81 annex K.3: numbers of codes per length, then the symbols
_DC_COUNTS = (
    bytes.fromhex("00010501010101010100000000000000"),
    bytes.fromhex("00030101010101010101010000000000"),
)
_AC_LUMA = bytes.fromhex(
    "0002010303020403050504040000017d"
    "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a"
    "434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9"
    "aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"
)
_AC_CHROMA = bytes.fromhex(
    "00020102040403040705040400010277"
    "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a3536373839"
    "3a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7"
    "a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"
)


def segment(marker: int, body: bytes) -> bytes:
    """A marker segment with its length."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


HUFFMAN = b"".join(
    segment(DHT, bytes((place,)) + table)
    for place, table in (
        (0x00, _DC_COUNTS[0] + bytes(range(12))),
        (0x10, _AC_LUMA),
        (0x01, _DC_COUNTS[1] + bytes(range(12))),
        (0x11, _AC_CHROMA),
    )
)


def codec_config(width: int, height: int) -> CodecConfig:
    return CodecConfig(
        Codec.JPEG, MediaKind.VIDEO, CLOCK_HZ, width=width, height=height, codec_string="mp4v.6c"
    )  # fmt: skip


def standard_tables(quality: int) -> tuple[bytes, ...]:
    """Quantisation tables (luma, chroma) of Q 1 to 99 (RFC 2435 §4.2)."""
    quality = min(max(quality, 1), 99)
    factor = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(bytes(min(max((value * factor + 50) // 100, 1), 255) for value in table) for table in (_LUMA, _CHROMA))


def quantisation(tables: Sequence[bytes]) -> bytes:
    """DQT segments; a table of 128 bytes has 16-bit values."""
    return b"".join(
        segment(DQT, bytes(((len(table) > 64) << 4 | index,)) + table) for index, table in enumerate(tables)
    )


def frame_header(width: int, height: int, vertical: int, tables: int) -> bytes:
    """SOF0 of YCbCr with chroma halved across, and down when `vertical` is 2."""
    chroma = min(1, tables - 1)
    parts = bytes((1, 0x20 | vertical, 0, 2, 0x11, chroma, 3, 0x11, chroma))
    return segment(SOF0, struct.pack(">BHHB", 8, height, width, 3) + parts)


def scan_header() -> bytes:
    """SOS of one interleaved scan of three components."""
    return segment(SOS, bytes((3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0)))


def restart_interval(units: int) -> bytes:
    return segment(DRI, struct.pack(">H", units))


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker segment as it lies in the data: `raw` is whole, `body` without marker and length."""

    marker: int
    raw: bytes
    body: bytes


def segments(data: bytes) -> Iterator[Segment]:
    """Marker segments up to and with the first SOS, without fill bytes and SOI. Raises BitstreamError."""
    at, size = 0, len(data)
    while at < size:
        if data[at] != 0xFF:
            raise BitstreamError("JPEG headers with something between the segments")
        while at < size and data[at] == 0xFF:
            at += 1
        if at >= size:
            return  # padding
        marker = data[at]
        at += 1
        if marker in _ALONE:
            continue
        if at + 2 > size:
            raise BitstreamError("a JPEG segment is cut off")
        length = data[at] << 8 | data[at + 1]
        if length < 2 or at + length > size:
            raise BitstreamError("a JPEG segment longer than the headers")
        yield Segment(marker, b"\xff" + bytes((marker,)) + data[at : at + length], data[at + 2 : at + length])
        at += length
        if marker == SOS:
            return


def size_of(sof: Segment) -> tuple[int, int]:
    """(width, height) of a frame header. Raises BitstreamError."""
    if len(sof.body) < 6:
        raise BitstreamError("a JPEG frame header is cut off")
    height, width = struct.unpack_from(">HH", sof.body, 1)
    if not width or not height:
        raise BitstreamError("a JPEG frame header without a size")
    return width, height


def plain_header(width: int, height: int, vertical: int, tables: Sequence[bytes], interval: int) -> bytes:
    """Everything in front of the scan (RFC 2435 appendix B). `interval` 0: no restart markers."""
    return b"".join(
        (
            SOI,
            _JFIF,
            quantisation(tables),
            restart_interval(interval) if interval else b"",
            frame_header(width, height, vertical, len(tables)),
            HUFFMAN,
            scan_header(),
        )
    )
