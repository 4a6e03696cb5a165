"""ONVIF metadata over RTP: packets up to the marker are one document (ONVIF Streaming §5.1.2.1.1).

Law: as in `depay`. Timestamps may differ inside a document, so only the marker ends one; cameras that never set it are
helped by how documents begin and end. Compressed documents come out unpacked, within a bound; EXI as it came.
"""

from __future__ import annotations

from recorderd.media import metadata
from recorderd.media.access_unit import CodecConfig, UnitType
from recorderd.wire.depay import PIECE_BYTES, Emit

_KNOWN_FRONT_BYTES = 12


class MetadataDepacketiser:
    """`gzip`: the description said that documents are compressed; a gzip header is recognised without that, too.

    What follows a gap is passed over up to a packet that plainly begins a document, or to the marker: the rest of a
    document whose begin is lost is of no use."""

    fragment_key: int | bytes | None = None
    fragment_offset = 0

    def __init__(self, emit: Emit, config: CodecConfig) -> None:
        self.config = config
        self.parts: list[bytes] = []
        self.kept_bytes = self.malformed = 0
        self._emit = emit
        self._is_xml = config.extra.decode() == metadata.XML
        self._orphaned = False
        self._front = b""  # how whole documents of this camera begin

    def feed(self, buffer: memoryview, pos: int, end: int) -> None:
        if pos >= end:
            return
        data = bytes(buffer[pos:end])
        if self._orphaned:
            if not self._begins(data):
                return
            self._orphaned = False
        elif self.parts and self._is_xml and self._begins(data):
            self._give(not self._ended())  # the marker of the document before was never set
        self.parts.append(data)
        self.kept_bytes += len(data) + PIECE_BYTES
        if self.kept_bytes > metadata.MAX_DOCUMENT_BYTES:
            self.malformed += 1
            self._drop()
            self._orphaned = True

    def marker(self) -> None:
        """The document is closed."""
        if not self._orphaned:
            self._give(False)
        self._orphaned = False

    def flush(self) -> None:
        """Another timestamp means nothing, unless the document is over anyway."""
        if self.parts and self._ended():
            self._give(False)

    def gap(self, packets: int) -> None:
        """The open document is kept up to the gap."""
        self._give(not self._ended())
        self._orphaned = True

    def _begins(self, data: bytes) -> bool:
        return metadata.begins_document(data) or (bool(self._front) and data.startswith(self._front))

    def _ended(self) -> bool:
        if not self._is_xml or not self.parts or self.parts[0].startswith(metadata.GZIP_MAGIC):
            return False
        return metadata.ends_document(b"".join(self.parts[-2:]))

    def _drop(self) -> None:
        self.parts.clear()
        self.kept_bytes = 0

    def _give(self, damaged: bool) -> None:
        if not self.parts:
            return
        data = b"".join(self.parts)
        self._drop()
        if data.startswith(metadata.GZIP_MAGIC):
            data, whole = metadata.inflate(data)
            self.malformed += not whole and not damaged
            damaged = damaged or not whole
            if not data:
                return
        elif not damaged:
            self._front = data[:_KNOWN_FRONT_BYTES]
        self._emit(data, UnitType.AUDIO, damaged, 0)
