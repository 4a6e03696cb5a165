"""H.265 over RTP (RFC 7798): single NAL units, aggregation packets, fragmentation units.

Law: as in `depay`. Without decoding order numbers (sprop-max-don-diff is 0 for every camera known).
"""

from __future__ import annotations

from typing import ClassVar

from recorderd.media import h265
from recorderd.media.access_unit import CodecConfig, UnitType
from recorderd.wire.depay import NalDepacketiser

AP, FU = 48, 49
# `$`, channel and length; flags and sequence number; timestamp and source; payload header and FU header
HEAD = ">IIQ3s"

_IRAP_LAST = 23


class H265Depacketiser(NalDepacketiser):
    fragment_offset = 19
    header_bytes = 2
    set_kinds = (h265.VPS, h265.SPS, h265.PPS)
    picture_kinds = frozenset(range(h265.FIRST_NON_VCL))
    entries: ClassVar[dict[int, UnitType]] = {
        **dict.fromkeys(range(h265.BLA_FIRST, _IRAP_LAST + 1), UnitType.OPEN_GOP),
        h265.IDR_W_RADL: UnitType.IDR,
        h265.IDR_N_LP: UnitType.IDR,
    }
    opening_kinds = frozenset((h265.VPS, h265.SPS, h265.PPS, h265.AUD, h265.PREFIX_SEI, 41, 42, 43, 44))
    sei_kind = h265.PREFIX_SEI

    def feed(self, buffer: memoryview, pos: int, end: int) -> None:
        if pos >= end:
            return  # an empty packet keeps a path open; it carries nothing
        if end - pos < 3:
            self._bad()
            return
        first, second = buffer[pos], buffer[pos + 1]
        kind = first >> 1 & 0x3F
        if kind == FU:
            flags = buffer[pos + 2]
            if self._open_at >= 0 and flags < 0x80:
                self._continue(flags, bytes(buffer[pos + 3 : end]))
                return
            self._start(flags, bytes((first & 0x81 | (flags & 0x3F) << 1, second)), bytes(buffer[pos + 3 : end]))
            if self._open_at >= 0:
                self.fragment_key = bytes((first, second, flags & 0x3F))
        elif kind == AP:
            self._aggregate(buffer, pos + 2, end)
        elif kind < AP:
            self._single(bytes(buffer[pos:end]))
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
        return first_byte >> 1 & 0x3F

    def _set_id(self, nal: bytes) -> int:
        return h265.parameter_set_id(nal)

    def _make_config(self, sets: tuple[bytes, ...]) -> CodecConfig:
        return h265.codec_config(sets)
