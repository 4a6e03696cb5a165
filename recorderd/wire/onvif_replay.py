"""The RTP header extension of ONVIF replay (Streaming Specification, "RTP header extension"; RFC 3550 §5.3.1).

Law: bytes and values only. Written by the RTSP server for recorded footage.
"""

from __future__ import annotations

import enum
import struct

from recorderd.wire.rtp_send import ntp_time

PROFILE = 0xABAC
EXTENSION_BYTES = 16
_EXTENSION = struct.Struct(">HHQBBH")


class ReplayFlag(enum.IntFlag):
    """About the access unit that the packet belongs to."""

    CLEAN_POINT = 0x80  # decoding may begin here
    END = 0x40  # the last of a contiguous section
    DISCONTINUITY = 0x20  # the first after a gap, or after a PLAY with Immediate
    TERMINAL = 0x10  # the last of this playback


def replay_extension(utc_us: int, flags: ReplayFlag, cseq: int) -> bytes:
    """The extension with its header: recorded UTC of the unit, its flags, the low byte of the PLAY's CSeq."""
    # Rounded up: players floor it to nanoseconds, and a picture a hair before its range is cut off.
    is_inexact = bool((utc_us % 1_000_000 << 32) % 1_000_000)
    return _EXTENSION.pack(PROFILE, 3, ntp_time(utc_us) + is_inexact, flags, cseq & 0xFF, 0)
