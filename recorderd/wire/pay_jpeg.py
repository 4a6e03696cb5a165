"""JPEG images to RTP payloads (RFC 2435): the counterpart of `depay_jpeg`.

Law: pure; headers are taken apart, the scan is cut and never read. What RFC 2435 cannot say (progressive pictures,
other chroma, other Huffman tables, sizes above 2,040) is refused with ValueError. Called by `pay`.
"""

from __future__ import annotations

from recorderd.media import jpeg
from recorderd.media.bits import BitstreamError

MAX_PIXELS = 2040
_TABLES_IN_BAND = 255
_CHROMA = bytes((0x11,))
_MIN_PIECE_BYTES = 64


def jpeg_payloads(image: bytes, limit_bytes: int) -> list[bytes]:
    """Payloads of one image in order, the marker belongs on the last. Raises ValueError."""
    try:
        found = list(jpeg.segments(image))
    except BitstreamError as error:
        raise ValueError(error.message) from None
    if not found or found[-1].marker != jpeg.SOS:
        raise ValueError("a JPEG without a scan")
    frame = next((one for one in found if one.marker in jpeg.FRAMES), None)
    if frame is None or frame.marker == jpeg.SOF2:
        raise ValueError("RFC 2435 carries baseline JPEG only")
    _check_huffman(found)
    kind, blocks, numbers = _read_frame(frame)
    restart = b"".join(one.body for one in found if one.marker == jpeg.DRI)[:2]
    if restart:
        kind |= 0x40
        restart += b"\xff\xff"  # restart intervals are not aligned with packets
    precision, tables = _read_tables(found, numbers)
    head = bytes((kind, _TABLES_IN_BAND, *blocks)) + restart
    scan = image[image.index(found[-1].raw) + len(found[-1].raw) :]
    out, at = [], 0
    while at < len(scan):
        front = b"\x00" + at.to_bytes(3, "big") + head
        if not at:
            front += bytes((0, precision)) + len(tables).to_bytes(2, "big") + tables
        piece = scan[at : at + max(_MIN_PIECE_BYTES, limit_bytes - len(front))]
        out.append(front + piece)
        at += len(piece)
        if at >= 1 << 24:
            raise ValueError("a JPEG of more than 16 MiB")
    return out


def _read_frame(frame: jpeg.Segment) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """(RTP type, size in blocks of 8, numbers of luma and chroma tables)."""
    try:
        width, height = jpeg.size_of(frame)
    except BitstreamError as error:
        raise ValueError(error.message) from None
    parts = [frame.body[6 + at : 9 + at] for at in (0, 3, 6)]
    if frame.body[0] != 8 or frame.body[5] != 3 or len(frame.body) < 15:
        raise ValueError("RFC 2435 carries YCbCr of 8 bits only")
    kind = {0x21: 0, 0x22: 1}.get(parts[0][1], -1)
    if kind < 0 or parts[1][1:2] != _CHROMA or parts[1][1:] != parts[2][1:]:
        raise ValueError("RFC 2435 carries 4:2:2 and 4:2:0 only")
    if max(width, height) > MAX_PIXELS:
        raise ValueError(f"RFC 2435 carries up to {MAX_PIXELS} pixels, not {width}x{height}")
    return kind, (-(-width // 8), -(-height // 8)), (parts[0][2], parts[1][2])


def _tables_of(found: list[jpeg.Segment], marker: int) -> dict[int, bytes]:
    """Tables by their first byte (class or precision, and number)."""
    tables: dict[int, bytes] = {}
    for one in found:
        body = one.body if one.marker == marker else b""
        while body:
            first = body[0]
            size = sum(body[1:17]) + 16 if marker == jpeg.DHT else 128 if first >> 4 else 64
            tables[first] = body[1 : 1 + size]
            body = body[1 + size :]
    return tables


_STANDARD = _tables_of(list(jpeg.segments(jpeg.HUFFMAN)), jpeg.DHT)


def _check_huffman(found: list[jpeg.Segment]) -> None:
    for number, table in _tables_of(found, jpeg.DHT).items():
        if _STANDARD.get(number) != table:
            raise ValueError("RFC 2435 carries the standard Huffman tables only")


def _read_tables(found: list[jpeg.Segment], numbers: tuple[int, int]) -> tuple[int, bytes]:
    """(precision bits, luma and chroma tables one after the other)."""
    known = {first & 15: (first >> 4, table) for first, table in _tables_of(found, jpeg.DQT).items()}
    try:
        chosen = [known[number] for number in numbers]
    except KeyError:
        raise ValueError("a JPEG without its quantisation tables") from None
    precision = sum(bool(wide) << index for index, (wide, _) in enumerate(chosen))
    return precision, b"".join(table for _, table in chosen)
