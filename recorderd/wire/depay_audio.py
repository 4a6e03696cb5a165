"""Audio over RTP: AAC (RFC 3640, mode AAC-hbr and its like) and G.711 (RFC 3551).

Law: as in `depay`: one emitted unit per audio frame, nothing is decoded.
"""

from __future__ import annotations

from recorderd.media.access_unit import CodecConfig, UnitType
from recorderd.media.bits import BitReader, BitstreamError
from recorderd.wire.depay import Emit


class G711Depacketiser:
    """Every packet is one unit, whatever its length."""

    fragment_key: int | bytes | None = None
    fragment_offset = 0

    def __init__(self, emit: Emit, config: CodecConfig) -> None:
        self.config = config
        self.parts: list[bytes] = []
        self.kept_bytes = self.malformed = 0
        self._emit = emit

    def feed(self, buffer: memoryview, pos: int, end: int) -> None:
        if pos < end:
            self._emit(bytes(buffer[pos:end]), UnitType.AUDIO, False, 0)

    def marker(self) -> None:
        """Marks the start of talk; says nothing about units."""

    def flush(self) -> None:
        """Nothing is ever kept."""

    def gap(self, packets: int) -> None:
        """Packets stand alone."""


class AacDepacketiser:
    """AU headers of `size_bits` and `index_bits`, then the frames; one frame may span packets."""

    fragment_key: int | bytes | None = None
    fragment_offset = 0

    def __init__(self, emit: Emit, config: CodecConfig, size_bits: int = 13, index_bits: int = 3) -> None:
        self.config = config
        self.parts: list[bytes] = []
        self.kept_bytes = self.malformed = 0
        self._emit = emit
        self._size_bits, self._index_bits = size_bits, index_bits
        self._missing = 0  # bytes of the frame in `parts` still to come
        self._damaged = False

    def feed(self, buffer: memoryview, pos: int, end: int) -> None:
        try:
            sizes, pos = self._read_sizes(buffer, pos, end)
        except BitstreamError:
            self.malformed += 1
            return
        if self._missing:
            self._continue(buffer[pos:end])
        elif len(sizes) == 1 and sizes[0] > end - pos:
            self.parts.append(bytes(buffer[pos:end]))
            self._missing = sizes[0] - (end - pos)
        else:
            self._give_all(sizes, buffer[pos:end])

    def marker(self) -> None:
        """Says that a packet ends a frame; the sizes say it too."""

    def flush(self) -> None:
        """Another timestamp: a frame that is not complete stays so, and is given out as it is."""
        if self._missing:
            self._damaged = True
            self._give_pieces()

    def gap(self, packets: int) -> None:
        """The rest of an open frame is lost."""
        self.flush()

    def _read_sizes(self, buffer: memoryview, pos: int, end: int) -> tuple[list[int], int]:
        if end - pos < 2:
            raise BitstreamError("an AAC packet without AU headers")
        header_bits = buffer[pos] << 8 | buffer[pos + 1]
        stop = pos + 2 + (header_bits + 7) // 8
        each = self._size_bits + self._index_bits
        if stop > end or header_bits < each:
            raise BitstreamError("AU headers longer than their packet")
        bits = BitReader(bytes(buffer[pos + 2 : stop]))
        sizes = []
        for _ in range(header_bits // each):
            sizes.append(bits.u(self._size_bits))
            bits.skip(self._index_bits)
        return sizes, stop

    def _continue(self, piece: memoryview) -> None:
        self.parts.append(bytes(piece[: self._missing]))
        self._missing -= min(len(piece), self._missing)
        if not self._missing:
            self._give_pieces()

    def _give_pieces(self) -> None:
        data, damaged = b"".join(self.parts), self._damaged
        self.parts.clear()
        self._missing, self._damaged = 0, False
        self._emit(data, UnitType.AUDIO, damaged, 0)

    def _give_all(self, sizes: list[int], data: memoryview) -> None:
        pos = 0
        for index, size in enumerate(sizes):
            if not size or pos + size > len(data):
                self.malformed += 1
                return
            self._emit(bytes(data[pos : pos + size]), UnitType.AUDIO, False, index * self.config.frame_ticks)
            pos += size
