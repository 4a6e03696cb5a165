"""ONVIF metadata documents: what begins one, what ends one, how one is unpacked (ONVIF Streaming §5.1.2.1.1).

Law: pure; looks at the ends of a document, never parses XML. Unpacking is bounded. Called by the metadata
depacketiser, the sample entry and tests.
"""

from __future__ import annotations

import re
import zlib

from recorderd.media.access_unit import Codec, CodecConfig, MediaKind

CLOCK_HZ = 90_000
XML = "application/vnd.onvif.metadata"
EXI = "application/vnd.onvif.metadata.exi"  # kept as it came: the grammar is the reader's matter
MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b\x08"
_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml\s|(?:[\w.-]{1,64}:)?metadatastream[\s/>])", re.IGNORECASE)
_END = re.compile(rb"(?:</(?:[\w.-]{1,64}:)?metadatastream\s*>|<(?:[\w.-]{1,64}:)?metadatastream[^<>]*/>)\s*\Z", re.I)
_TAIL_BYTES = 1024


def codec_config(media_type: str) -> CodecConfig:
    """`media_type`: XML or EXI. The nominal distance of documents is a second, the longest that ONVIF recommends."""
    return CodecConfig(
        Codec.ONVIF_METADATA, MediaKind.METADATA, CLOCK_HZ, extra=media_type.encode(), frame_ticks=CLOCK_HZ,
        codec_string="mett",
    )  # fmt: skip


def begins_document(data: bytes) -> bool:
    """True when a document plainly begins here: an XML declaration, the root element, or a gzip header."""
    return data.startswith(GZIP_MAGIC) or _START.match(data) is not None


def ends_document(data: bytes) -> bool:
    """True when the root element is closed here."""
    return _END.search(data[-_TAIL_BYTES:]) is not None


def inflate(data: bytes) -> tuple[bytes, bool]:
    """(the document, whole) of gzip data: whole is False when it is cut off, broken or larger than the bound; then the
    document is what could be unpacked before that."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    out = bytearray()
    try:
        while data and not unpacker.eof and len(out) < MAX_DOCUMENT_BYTES:
            out += unpacker.decompress(data, min(65_536, MAX_DOCUMENT_BYTES - len(out)))
            data = unpacker.unconsumed_tail
    except zlib.error:
        return bytes(out), False
    return bytes(out), unpacker.eof
