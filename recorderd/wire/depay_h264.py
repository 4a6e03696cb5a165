"""H.264 over RTP (RFC 6184): single NAL units, STAP-A and FU-A.

Law: as in `depay`. Packetisation mode 2 (interleaved: STAP-B, MTAP, FU-B) is no camera's; it counts as
malformed.
"""

from __future__ import annotations

from typing import ClassVar

from recorderd.media import h264
from recorderd.media.access_unit import CodecConfig, UnitType
from recorderd.wire.depay import NalDepacketiser

STAP_A, FU_A = 24, 28
# `$`, channel and length; flags and sequence number; timestamp and source; FU indicator and FU header
HEAD = ">IIQH"

_SINGLE_LAST = 23


class H264Depacketiser(NalDepacketiser):
    fragment_offset = 18
    header_bytes = 1
    set_kinds = (h264.SPS, h264.PPS)
    picture_kinds = frozenset(range(h264.SLICE, h264.IDR + 1))
    entries: ClassVar[dict[int, UnitType]] = {h264.IDR: UnitType.IDR}
    opening_kinds = frozenset((h264.SEI, h264.SPS, h264.PPS, h264.AUD, 14, 15, 16, 17, 18))
    sei_kind = h264.SEI

    def feed(self, buffer: memoryview, pos: int, end: int) -> None:
        if pos >= end:
            return  # an empty packet keeps a path open; it carries nothing
        first = buffer[pos]
        kind = first & 0x1F
        if kind == FU_A:
            if end - pos < 2:
                self._bad()
                return
            flags = buffer[pos + 1]
            if self._open_at >= 0 and flags < 0x80:
                self._continue(flags, bytes(buffer[pos + 2 : end]))
                return
            self._start(flags, bytes((first & 0xE0 | flags & 0x1F,)), bytes(buffer[pos + 2 : end]))
            if self._open_at >= 0:
                self.fragment_key = first << 8 | flags & 0x1F
        elif kind <= _SINGLE_LAST:
            self._single(bytes(buffer[pos:end]))
        elif kind == STAP_A:
            self._aggregate(buffer, pos + 1, end)
        else:
            self._bad()

    def _aggregate(self, buffer: memoryview, pos: int, end: int) -> None:
        while pos + 2 <= end:
            size = buffer[pos] << 8 | buffer[pos + 1]
            pos += 2
            if not size or pos + size > end:
                self._bad()
                return
            self._single(bytes(buffer[pos : pos + size]))
            pos += size

    @staticmethod
    def kind(first_byte: int) -> int:
        return first_byte & 0x1F

    def _set_id(self, nal: bytes) -> int:
        return h264.parameter_set_id(nal)

    def _make_config(self, sets: tuple[bytes, ...]) -> CodecConfig:
        return h264.codec_config(sets)
