"""The sending half of RTP: frames to packet payloads, packets with headers, sender reports.

Law: bytes in, bytes out; no sockets, no clock, no session. What a payloader gives can be shared by any number
of receivers, because the RTP header is put on later. Called by the sources behind `recorderd.rtspserver`.

RTP and RTCP: RFC 3550; H.264: RFC 6184 packetization-mode 1 (single NAL unit, FU-A); H.265: RFC 7798 (single,
FU); AAC: RFC 3640 mode AAC-hbr; G.711: RFC 3551; interleaving: RFC 2326 §10.12.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

RTP_HEADER_BYTES = 12
INTERLEAVED_RTP_BYTES = 4 + RTP_HEADER_BYTES
DEFAULT_MAX_PAYLOAD_BYTES = 1400 - RTP_HEADER_BYTES

_FU_A = 28
_FU_H265 = 49
_START, _END = 0x80, 0x40
_AU_HEADER = struct.Struct(">HH")  # AU-headers-length in bits, then 13 bits size and 3 bits index
_AAC_HBR_MAX_BYTES = (1 << 13) - 1
_INTERLEAVED_RTP = struct.Struct(">BBHBBHII")
_SENDER_REPORT = struct.Struct(">BBHIQIII")
_NTP_EPOCH_S = 2_208_988_800  # 1900-01-01 to 1970-01-01


def h264_payloads(nal: bytes, max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES) -> list[bytes]:
    """One NAL unit as a single NAL unit packet, or as FU-A fragments when it is too large."""
    if len(nal) <= max_payload_bytes:
        return [nal]
    indicator, kind = nal[0] & 0xE0 | _FU_A, nal[0] & 0x1F
    parts = _cut(memoryview(nal)[1:], max_payload_bytes - 2)
    return [bytes((indicator, _fu_flags(index, len(parts)) | kind)) + part for index, part in enumerate(parts)]


def h265_payloads(nal: bytes, max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES) -> list[bytes]:
    """One NAL unit as a single NAL unit packet, or as fragmentation units when it is too large."""
    if len(nal) <= max_payload_bytes:
        return [nal]
    kind = nal[0] >> 1 & 0x3F
    header = bytes((nal[0] & 0x81 | _FU_H265 << 1, nal[1]))
    parts = _cut(memoryview(nal)[2:], max_payload_bytes - 3)
    return [header + bytes((_fu_flags(index, len(parts)) | kind,)) + part for index, part in enumerate(parts)]


def aac_payloads(frame: bytes, max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES) -> list[bytes]:
    """One raw AAC frame; fragments all carry the size of the whole frame (RFC 3640 §3.2.3).
    Raises ValueError above the 8,191 bytes that AAC-hbr can express."""
    if len(frame) > _AAC_HBR_MAX_BYTES:
        raise ValueError(f"an AAC frame of {len(frame)} bytes does not fit AAC-hbr")
    header = _AU_HEADER.pack(16, len(frame) << 3)
    return [header + part for part in _cut(memoryview(frame), max_payload_bytes - len(header))]


def _fu_flags(index: int, count: int) -> int:
    return (_START if index == 0 else 0) | (_END if index == count - 1 else 0)


def _cut(data: memoryview, size: int) -> list[memoryview]:
    """Pieces of nearly equal size, none above `size`: no tiny packet at the end."""
    count = max(1, -(-len(data) // size))
    step = -(-len(data) // count)
    return [data[start : start + step] for start in range(0, max(1, len(data)), max(1, step))]


@dataclass(frozen=True, slots=True)
class RtpTrack:
    """What is constant in the packets of one track: interleaved channel, payload type, SSRC."""

    channel: int
    payload_type: int
    ssrc: int


def interleaved_packet(track: RtpTrack, payload: bytes, seq: int, timestamp: int, marker: bool) -> bytes:
    """`$`, channel, length, RTP header, payload. `seq` and `timestamp` are reduced to 16 and 32 bits."""
    return (
        _INTERLEAVED_RTP.pack(
            0x24,
            track.channel,
            RTP_HEADER_BYTES + len(payload),
            0x80,
            track.payload_type | (0x80 if marker else 0),
            seq & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            track.ssrc,
        )
        + payload
    )


def interleaved_packets(
    track: RtpTrack, payloads: Sequence[bytes], seq: int, timestamp: int, last_is_marked: bool = True
) -> list[bytes]:
    """The packets of one frame with rising sequence numbers; the marker bit is on the last."""
    last = len(payloads) - 1 if last_is_marked else -1
    return [
        interleaved_packet(track, payload, seq + index, timestamp, index == last)
        for index, payload in enumerate(payloads)
    ]


def interleaved_extended(
    track: RtpTrack, payload: bytes, place: tuple[int, int], marker: bool, extension: bytes
) -> bytes:
    """The same with a header extension (RFC 3550 §5.3.1, its own header included); `place`: sequence, timestamp."""
    seq, timestamp = place
    return (
        _INTERLEAVED_RTP.pack(
            0x24,
            track.channel,
            RTP_HEADER_BYTES + len(extension) + len(payload),
            0x90,
            track.payload_type | (0x80 if marker else 0),
            seq & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            track.ssrc,
        )
        + extension
        + payload
    )


def ntp_time(utc_us: int) -> int:
    """UTC microseconds as a 64-bit NTP timestamp (RFC 3550 §4); the era wraps in 2036 as the RFC has it."""
    seconds, us = divmod(utc_us, 1_000_000)
    return ((seconds + _NTP_EPOCH_S) & 0xFFFFFFFF) << 32 | (us << 32) // 1_000_000


@dataclass(frozen=True, slots=True)
class SenderCounts:
    """What a sender has sent on one track since PLAY; payload bytes without headers."""

    packets: int
    payload_bytes: int


def sender_report(ssrc: int, utc_us: int, timestamp: int, counts: SenderCounts, cname: str) -> bytes:
    """A compound of SR (RFC 3550 §6.4.1) and SDES with the CNAME, not interleaved.

    `utc_us` and `timestamp` name the same instant: the sender's wall clock and its media clock.
    """
    report = _SENDER_REPORT.pack(
        0x80, 200, 6, ssrc, ntp_time(utc_us), timestamp & 0xFFFFFFFF,
        counts.packets & 0xFFFFFFFF, counts.payload_bytes & 0xFFFFFFFF,
    )  # fmt: skip
    name = cname.encode()[:255]
    chunk = struct.pack(">IBB", ssrc, 1, len(name)) + name
    chunk += bytes(4 - len(chunk) % 4)  # at least one zero byte ends the item list
    return report + struct.pack(">BBH", 0x81, 202, len(chunk) // 4) + chunk


def goodbye(ssrc: int) -> bytes:
    """A compound of an empty receiver report and BYE (RFC 3550 §6.6), not interleaved: nothing more comes."""
    return struct.pack(">BBHI", 0x80, 201, 1, ssrc) + struct.pack(">BBHI", 0x81, 203, 1, ssrc)


def interleaved(channel: int, data: bytes) -> bytes:
    """`$`, channel, length, data: for RTCP."""
    return struct.pack(">BBH", 0x24, channel, len(data)) + data
