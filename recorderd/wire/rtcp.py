"""RTCP (RFC 3550 §6): reading sender reports and goodbyes, writing receiver reports.

Law: bytes and records only. A compound packet that is cut or nonsense gives what could be read of it.
Called by
`track`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from recorderd.wire.rtsp_message import Buffer

SENDER_REPORT, RECEIVER_REPORT, SDES, BYE, APP = 200, 201, 202, 203, 204
_MAX_PACKETS = 16
_COMMON = struct.Struct(">BBH")
_SENDER = struct.Struct(">IIIIII")
_REPORT = struct.Struct(">BBHIIIIIII")
_CNAME = 1


@dataclass(frozen=True, slots=True)
class SenderReport:
    """`ntp_s`, `ntp_fraction`: NTP time as sent; `rtp_timestamp`: the same instant on the media clock."""

    ssrc: int
    ntp_s: int
    ntp_fraction: int
    rtp_timestamp: int


@dataclass(frozen=True, slots=True)
class Bye:
    ssrc: int


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one source. `jitter` in media clock ticks; `last_sr` the middle 32 bits of the
    last report's NTP time, `since_sr` in 1/65536 s."""

    ssrc: int
    fraction_lost: int
    lost: int
    highest_sequence: int
    jitter: int
    last_sr: int = 0
    since_sr: int = 0


def is_rtcp(data: Buffer, pos: int, end: int) -> bool:
    """Whether these bytes are RTCP and not RTP (RFC 5761 §4)."""
    return end - pos >= 8 and data[pos] >> 6 == 2 and SENDER_REPORT <= data[pos + 1] <= APP


def parse_rtcp(data: Buffer, pos: int, end: int) -> list[SenderReport | Bye]:
    """Reports and goodbyes of a compound packet."""
    found: list[SenderReport | Bye] = []
    for _ in range(_MAX_PACKETS):
        if end - pos < 4:
            break
        first, kind, words = _COMMON.unpack_from(data, pos)
        stop = pos + 4 * (words + 1)
        if first >> 6 != 2 or stop > end:
            break
        if kind == SENDER_REPORT and stop - pos >= 28:
            ssrc, seconds, fraction, timestamp, _, _ = _SENDER.unpack_from(data, pos + 4)
            found.append(SenderReport(ssrc, seconds, fraction, timestamp))
        elif kind == BYE:
            count = min(first & 0x1F, words)
            found += [Bye(int.from_bytes(data[p : p + 4], "big")) for p in range(pos + 4, pos + 4 + 4 * count, 4)]
        pos = stop
    return found


def build_receiver_report(own_ssrc: int, block: ReportBlock | None, cname: bytes) -> bytes:
    """A compound of receiver report and source description with CNAME, as RFC 3550 §6.1 demands."""
    if block is None:
        report = _COMMON.pack(0x80, RECEIVER_REPORT, 1) + own_ssrc.to_bytes(4, "big")
    else:
        loss = block.fraction_lost << 24 | max(0, min(block.lost, 0x7FFFFF))
        report = _REPORT.pack(
            0x81, RECEIVER_REPORT, 7, own_ssrc, block.ssrc, loss, block.highest_sequence & 0xFFFFFFFF,
            block.jitter & 0xFFFFFFFF, block.last_sr, block.since_sr & 0xFFFFFFFF,
        )  # fmt: skip
    item = bytes((_CNAME, len(cname))) + cname
    chunk = own_ssrc.to_bytes(4, "big") + item + bytes(4 - len(item) % 4)
    return report + _COMMON.pack(0x81, SDES, len(chunk) // 4) + chunk
