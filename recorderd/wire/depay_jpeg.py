"""JPEG over RTP (RFC 2435) with ONVIF's header extension (ONVIF Streaming §5.1.3): one whole image per unit.

Law: as in `depay`. The headers that RTP leaves out are put in front of the scan; the scan itself is copied, never read.
An image that lost packets is kept up to the loss, ended and marked damaged; what follows of it has no place any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from recorderd.media import jpeg
from recorderd.media.access_unit import CodecConfig, UnitType
from recorderd.media.bits import BitstreamError
from recorderd.wire.depay import MAX_UNIT_BYTES, PIECE_BYTES, Emit

EXTENSION_FIRST, EXTENSION_NEXT, EXTENSION_REPLAY = 0xFFD8, 0xFFFF, 0xABAC
_REPLAY_BYTES = 12  # of the replay extension; a JPEG extension may follow inside it
_HEADER_BYTES = 8
_MAX_TABLES_BYTES = 4 * 128
_MAX_HEADER_BYTES = 64 * 1024
_FIRST_TABLES_Q, _FRESH_TABLES_Q = 128, 255


@dataclass(frozen=True, slots=True)
class _Head:
    """What the first packet of an image says."""

    kind: int
    q: int
    width: int
    height: int
    interval: int
    tables: tuple[bytes, ...]  # () when the packet brings none


_UNTOLD = _Head(1, 0, 0, 0, 0, ())  # a packet that brings an extension alone


class JpegDepacketiser:
    """`size`: the picture size of the description, (0, 0) when it gives none. RTP counts in blocks of 8 pixels and up
    to 2,040: the description's size is believed where the two agree, or where RTP says 0."""

    fragment_key: int | bytes | None = None
    fragment_offset = 0

    def __init__(self, emit: Emit, size: tuple[int, int] = (0, 0)) -> None:
        self.config: CodecConfig = jpeg.codec_config(*size)
        self.parts: list[bytes] = []
        self.kept_bytes = self.malformed = 0
        self._emit = emit
        self._described = size
        self._cached: dict[int, tuple[bytes, ...]] = {}  # tables by Q
        self._dqt = b""  # of the image before, whole segments
        self._dht = jpeg.HUFFMAN
        self._size = size
        self._head: _Head | None = None  # of the open image
        self._extra: bytes | None = None  # the open image's headers out of extensions; None: it has none
        self._scan_bytes = 0  # as fragment offsets count them
        self._damaged = False
        self._extension: tuple[int, int, bytes] | None = None  # of the next packet: payload position, id, content

    def extension(self, identity: int, content: bytes, payload_at: int) -> None:
        """The header extension of the packet whose payload lies at `payload_at`; fed next, or never."""
        if identity == EXTENSION_REPLAY and len(content) >= _REPLAY_BYTES + 4:
            content = content[_REPLAY_BYTES:]
            identity = int.from_bytes(content[:2], "big")
            content = content[4 : 4 + 4 * int.from_bytes(content[2:4], "big")]
        self._extension = (payload_at, identity, content) if identity in (EXTENSION_FIRST, EXTENSION_NEXT) else None

    def feed(self, buffer: memoryview, pos: int, end: int) -> None:
        given, self._extension = self._extension, None
        extension = given if given is not None and given[0] == pos else None
        first = extension is not None and extension[1] == EXTENSION_FIRST
        content = extension[2] if extension is not None else b""
        offset = int.from_bytes(buffer[pos + 1 : pos + 4], "big") if end - pos >= _HEADER_BYTES else -1
        if first or (offset == 0 and (self._head is None or self._scan_bytes)):
            self._begin(buffer[pos:end], offset, content if first else None)
            content = b"" if first else content
        elif self._head is _UNTOLD and offset >= 0:
            self._read(buffer[pos:end], offset)
        if self._head is None:
            return  # the rest of an image whose begin is lost
        if content:
            self._add_extension(content)
        if offset >= 0:
            self._add_scan(buffer, pos, end, offset)

    def marker(self) -> None:
        """The image is complete."""
        self._give()

    def flush(self) -> None:
        """Another timestamp, another image."""
        self._give()

    def gap(self, packets: int) -> None:
        """The open image ends here, unless it is seen to be whole."""
        self._extension = None
        if self.parts and not self._ended():
            self._damaged = True
        self._give()

    def _begin(self, payload: memoryview, offset: int, extra: bytes | None) -> None:
        if self._head is not None:
            self._damaged = self._damaged or not self._ended()  # no marker, no other timestamp, yet a new image
            self._give()
        self._extra = extra
        self._read(payload, offset)

    def _read(self, payload: memoryview, offset: int) -> None:
        try:
            self._head = _read_head(bytes(payload[: _HEADER_BYTES + 8 + _MAX_TABLES_BYTES]), offset)
        except BitstreamError:
            self._bad()

    def _add_extension(self, content: bytes) -> None:
        """Headers, until the scan begins; then part of the scan."""
        if self._extra is not None and not self._scan_bytes:
            self._extra += content
            if len(self._extra) > _MAX_HEADER_BYTES:
                self._bad()
        else:
            self._keep(content)

    def _add_scan(self, buffer: memoryview, pos: int, end: int, offset: int) -> None:
        head = self._head
        if head is None:
            return
        at = pos + _HEADER_BYTES + (4 if head.kind & 0xC0 == 0x40 else 0)
        if offset == 0 and head.q >= _FIRST_TABLES_Q:
            at += 4 + sum(map(len, head.tables))
        if at >= end:
            return
        if offset != self._scan_bytes and self._extra is None:
            # In the sequence of packets nothing is missing: the sender's own mistake.
            self.malformed += 1
            self._damaged = True
            self._give()
            return
        self._scan_bytes += end - at
        self._keep(bytes(buffer[at:end]))

    def _keep(self, data: bytes) -> None:
        self.parts.append(data)
        self.kept_bytes += len(data) + PIECE_BYTES
        if self.kept_bytes > MAX_UNIT_BYTES:
            self._bad()

    def _bad(self) -> None:
        """This image cannot be made: pass over the rest of it."""
        self.malformed += 1
        self._reset()

    def _reset(self) -> None:
        self.parts.clear()
        self._head = self._extra = None
        self.kept_bytes = self._scan_bytes = 0
        self._damaged = False

    def _ended(self) -> bool:
        """The scan is seen to be over."""
        return b"".join(self.parts[-2:]).rstrip(b"\x00").endswith(jpeg.EOI)

    def _give(self) -> None:
        head, damaged, extra = self._head, self._damaged, self._extra
        scan = b"".join(self.parts)
        self._reset()
        if head is None or not (scan or extra):
            return
        try:
            front = self._front(head) if extra is None else self._merged(head, extra)
        except BitstreamError:
            self.malformed += 1
            return
        if not scan and extra is not None and jpeg.EOI not in extra:
            return  # headers without a picture
        if self._size != (self.config.width, self.config.height):
            self.config = jpeg.codec_config(*self._size)
        end = b"" if scan.rstrip(b"\x00").endswith(jpeg.EOI) else jpeg.EOI
        self._emit(b"".join((front, scan, end)), UnitType.INTRA_ONLY, damaged, 0)

    def _front(self, head: _Head) -> bytes:
        """The headers by RFC 2435 alone."""
        if head.kind & 0x3F > 1:
            raise BitstreamError(f"JPEG type {head.kind} is not known")
        tables = self._find_tables(head)
        self._size = self._find_size(head)
        self._dqt, self._dht = jpeg.quantisation(tables), jpeg.HUFFMAN
        return jpeg.plain_header(*self._size, 1 + (head.kind & 1), tables, head.interval)

    def _merged(self, head: _Head, extra: bytes) -> bytes:
        """The headers of the extension, completed by those of RFC 2435 and, where it says so, of the image before."""
        found = list(jpeg.segments(extra))
        given = {
            marker: b"".join(one.raw for one in found if one.marker == marker) for marker in {m.marker for m in found}
        }
        if jpeg.DQT not in given and head.q:
            self._dqt = jpeg.quantisation(self._find_tables(head))
        self._dqt = given.get(jpeg.DQT, self._dqt)
        self._dht = given.get(jpeg.DHT, self._dht)
        if not self._dqt:
            raise BitstreamError("no quantisation tables are known")
        middle = b"".join(one.raw for one in found if one.marker not in (jpeg.DQT, jpeg.DHT, jpeg.SOS))
        if jpeg.DRI not in given and head.interval:
            middle += jpeg.restart_interval(head.interval)
        frame = next((one for one in found if one.marker in jpeg.FRAMES), None)
        if frame is not None:
            self._size = jpeg.size_of(frame)
        else:
            self._size = self._find_size(head)
            middle += jpeg.frame_header(*self._size, 1 + (head.kind & 1), 2)
        scan = given.get(jpeg.SOS)
        tail = extra[extra.index(scan) + len(scan) :] if scan else b""
        return b"".join((jpeg.SOI, self._dqt, self._dht, middle, scan or jpeg.scan_header(), tail))

    def _find_tables(self, head: _Head) -> tuple[bytes, ...]:
        if head.tables:
            if head.q != _FRESH_TABLES_Q:
                self._cached[head.q] = head.tables
            return head.tables
        if 0 < head.q < _FIRST_TABLES_Q:
            return jpeg.standard_tables(head.q)
        found = self._cached.get(head.q, ())
        if not found:
            raise BitstreamError(f"no quantisation tables are known for Q {head.q}")
        return found

    def _find_size(self, head: _Head) -> tuple[int, int]:
        width, height = self._described
        size = (
            width if _blocks(width) == head.width or not head.width else head.width * 8,
            height if _blocks(height) == head.height or not head.height else head.height * 8,
        )
        size = (size[0] or self._size[0], size[1] or self._size[1])
        if not (0 < size[0] < 1 << 16 and 0 < size[1] < 1 << 16):
            raise BitstreamError("nothing says how large the picture is")
        return size


def _blocks(pixels: int) -> int:
    return -(-pixels // 8)


def _read_head(data: bytes, offset: int) -> _Head:
    """Main header, restart header and tables of an image's first packet, which with an extension may have none of
    them. Raises BitstreamError."""
    if offset < 0:
        return _UNTOLD
    kind, q = data[4], data[5]
    interval, at = 0, _HEADER_BYTES
    if kind & 0xC0 == 0x40:
        if at + 4 > len(data):
            raise BitstreamError("a JPEG packet without its restart header")
        interval = data[at] << 8 | data[at + 1]
        at += 4
    tables: tuple[bytes, ...] = ()
    if q >= _FIRST_TABLES_Q and offset == 0:
        if at + 4 > len(data):
            raise BitstreamError("a JPEG packet without its quantisation table header")
        precision, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        tables = _read_tables(data[at + 4 : at + 4 + length], precision, length)
    return _Head(kind, q, data[6], data[7], interval, tables)


def _read_tables(data: bytes, precision: int, length: int) -> tuple[bytes, ...]:
    if len(data) < length or length > _MAX_TABLES_BYTES:
        raise BitstreamError("quantisation tables longer than their packet")
    tables: list[bytes] = []
    at = 0
    while at < length:
        size = 128 if precision >> len(tables) & 1 else 64
        if at + size > length or len(tables) == 4:
            raise BitstreamError("quantisation tables of an odd length")
        tables.append(data[at : at + size])
        at += size
    return tuple(tables)
