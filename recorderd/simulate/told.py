"""What a simulated camera tells beside pictures: one ONVIF metadata document a second.

Law: text making; no clock, no connection. A document names its camera, its number and its time, so that a recording can
be judged by it. Cut into several packets, as real documents are.
"""

from __future__ import annotations

from datetime import UTC, datetime

from recorderd.media import metadata
from recorderd.wire.rtp_send import RtpTrack, interleaved_packets

_PIECE_BYTES = 400
_BOX = (
    '<tt:Object ObjectId="{0}"><tt:Appearance><tt:Shape><tt:BoundingBox left="-0.5" top="0.5" right="{1}" bottom="0"/>'
    "</tt:Shape></tt:Appearance></tt:Object>"
)


class PackedTold:
    """The metadata track of a stream, the same for all cameras but for what the documents say."""

    def __init__(self, track: RtpTrack) -> None:
        self.track = track
        self.config = metadata.codec_config(metadata.XML)

    def packets(self, document: bytes, sequence: int, timestamp: int) -> list[bytes]:
        """One document on the wire; the marker ends it."""
        pieces = [document[at : at + _PIECE_BYTES] for at in range(0, len(document), _PIECE_BYTES)]
        return interleaved_packets(self.track, pieces, sequence, timestamp)


def make_document(camera: int, number: int, utc_us: int) -> bytes:
    """Scene description with a few objects."""
    time = datetime.fromtimestamp(utc_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    boxes = "".join(_BOX.format(index, number % 10 / 10) for index in range(5))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<tt:MetadataStream xmlns:tt="http://www.onvif.org/ver10/schema"><tt:VideoAnalytics>'
        f'<tt:Frame UtcTime="{time}" Source="cam{camera}/{number}">{boxes}</tt:Frame>'
        "</tt:VideoAnalytics></tt:MetadataStream>"
    ).encode()
