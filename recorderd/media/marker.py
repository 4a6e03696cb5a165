"""The marker that simulated cameras put into every picture, so that any recording can be checked by number.

Law: pure; knows the bytes of one SEI message and how to find it in an access unit, never who sent it. Written
by `recorderd.simulate`, read by the demo, tests and benchmarks. A real camera's footage has no marker.

Form: an SEI NAL unit with one user_data_unregistered message (H.264 D.1.7, H.265 D.2.7; payload type 5):
`MARKER_UUID`, then ASCII `RDS1 cam=00042 n=0000000123 us=1700000000000000 crc=1a2b3c4d key=1`:
camera number, picture number, true UTC of the picture in microseconds (also when the simulated camera's own
clock is wrong), CRC-32 over the access unit's VCL NAL units with their headers, in order, without lengths;
and whether the picture is a keyframe. Neither UUID nor text can hold two zero bytes in a row, so the NAL unit
needs no emulation prevention bytes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from recorderd.media.access_unit import Codec

MARKER_UUID = bytes.fromhex("7c1fb24e93d5476a8e0b5a52445331d9")

_TEXT = re.compile(rb"RDS1 cam=(\d{5,}) n=(\d{10,}) us=(\d{1,18}) crc=([0-9a-f]{8}) key=([01])")
_SEI_HEADERS = {Codec.H264: b"\x06", Codec.H265: b"\x4e\x01"}  # H.265: type 39 (prefix SEI), temporal id 1
_USER_DATA_UNREGISTERED = 5
_STOP_BYTE = b"\x80"


@dataclass(frozen=True, slots=True)
class Marker:
    """What one picture says about itself."""

    camera: int
    number: int
    utc_us: int
    crc: int
    key: bool


def encode_marker(marker: Marker, codec: Codec = Codec.H264) -> bytes:
    """The SEI NAL unit, without start code or length. Raises KeyError for a codec without NAL units."""
    return encode_marker_fields(
        codec, (marker.camera, marker.number, marker.utc_us, marker.crc, 1 if marker.key else 0)
    )


def encode_marker_fields(codec: Codec, fields: tuple[int, int, int, int, int]) -> bytes:
    """The same from (camera, number, utc_us, crc, key): the farm's way, without an object per picture."""
    text = b"RDS1 cam=%05d n=%010d us=%d crc=%08x key=%d" % fields
    size = len(MARKER_UUID) + len(text)
    if size > 254:
        raise ValueError("a marker field is out of range")
    return b"%b%c%c%b%b%b" % (
        _SEI_HEADERS[codec], _USER_DATA_UNREGISTERED, size, MARKER_UUID, text, _STOP_BYTE
    )  # fmt: skip


def find_marker(unit_data: bytes, codec: Codec) -> Marker | None:
    """The marker of an access unit (NAL units behind 4-byte lengths), or None when it has none that can be
    read: not from a simulated camera, or the packet that held it was lost."""
    header = _SEI_HEADERS.get(codec)
    if header is None:
        return None
    for start, end in _nal_spans(unit_data):
        if unit_data.startswith(header, start):
            place = unit_data.find(MARKER_UUID, start, end)
            found = _TEXT.match(unit_data, place + len(MARKER_UUID), end) if place >= 0 else None
            if found is not None:
                camera, number, utc_us, crc, key = found.groups()
                return Marker(int(camera), int(number), int(utc_us), int(crc, 16), key == b"1")
    return None


def vcl_crc(unit_data: bytes, codec: Codec) -> int:
    """CRC-32 over the VCL NAL units of an access unit, as the marker claims it."""
    crc = 0
    view = memoryview(unit_data)
    for start, end in _nal_spans(unit_data):
        if end > start and is_vcl(unit_data[start], codec):
            crc = zlib.crc32(view[start:end], crc)
    return crc


def is_vcl(first_byte: int, codec: Codec) -> bool:
    """Whether a NAL unit with this first byte holds picture data (H.264 table 7-1, H.265 table 7-1)."""
    if codec is Codec.H264:
        return 1 <= first_byte & 0x1F <= 5
    return (first_byte >> 1) & 0x3F < 32


def _nal_spans(unit_data: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of each NAL unit; a length that runs over the end is cut there."""
    pos, size = 0, len(unit_data)
    while pos + 4 <= size:
        start = pos + 4
        pos = min(size, start + int.from_bytes(unit_data[pos:start], "big"))
        yield start, pos
