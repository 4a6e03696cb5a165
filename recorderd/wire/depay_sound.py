"""Sound over RTP beside AAC and G.711: Opus (RFC 7587), L16 and G.726 (RFC 3551), LATM (RFC 6416).

Law: as in `depay`: one emitted unit per audio frame, nothing is decoded. Linear and ADPCM packets are one unit each.
"""

from __future__ import annotations

from recorderd.media import aac, latm, opus, pcm
from recorderd.media.access_unit import CodecConfig, UnitType
from recorderd.media.bits import BitstreamError
from recorderd.wire.depay import PIECE_BYTES, Emit


class _Whole:
    """A depacketiser that keeps nothing from packet to packet."""

    fragment_key: int | bytes | None = None
    fragment_offset = 0

    def __init__(self, emit: Emit, config: CodecConfig) -> None:
        self.config = config
        self.parts: list[bytes] = []
        self.kept_bytes = self.malformed = 0
        self._emit = emit

    def marker(self) -> None:
        """Marks the start of talk; says nothing about units."""

    def flush(self) -> None:
        """Nothing is ever kept."""

    def gap(self, packets: int) -> None:
        """Packets stand alone."""


class OpusDepacketiser(_Whole):
    """Every packet is one Opus packet; the first tells how long they are."""

    def __init__(self, emit: Emit) -> None:
        super().__init__(emit, opus.codec_config())

    def feed(self, buffer: memoryview, pos: int, end: int) -> None:
        if pos >= end:
            return  # keeps a path open; carries nothing
        data = bytes(buffer[pos:end])
        try:
            length = opus.packet_samples(data)
        except BitstreamError:
            self.malformed += 1
            self._emit(data, UnitType.AUDIO, True, 0)
            return
        if not self.config.frame_ticks:
            self.config = opus.codec_config(length)
        self._emit(data, UnitType.AUDIO, False, 0)


class SampleDepacketiser(_Whole):
    """L16 and G.726: every packet is one unit of whole samples; what lies behind the last whole one is cut off."""

    def __init__(self, emit: Emit, config: CodecConfig) -> None:
        super().__init__(emit, config)
        self._block = pcm.block_bytes(config)

    def feed(self, buffer: memoryview, pos: int, end: int) -> None:
        if pos >= end:
            return
        over = (end - pos) % self._block
        if over:
            self.malformed += 1
        if end - over > pos:
            self._emit(bytes(buffer[pos : end - over]), UnitType.AUDIO, over > 0, 0)


class LatmDepacketiser:
    """An audioMuxElement in one packet or in several up to the marker; each holds one or more AAC frames.

    No byte says whether a packet begins an element. Behind a gap only one whose lengths add up exactly is believed."""

    fragment_key: int | bytes | None = None
    fragment_offset = 0

    def __init__(self, emit: Emit, clock_hz: int, config: latm.MuxConfig | None, in_band: bool) -> None:
        self.parts: list[bytes] = []
        self.kept_bytes = self.malformed = 0
        self._emit = emit
        self._clock_hz = clock_hz
        self._mux = config
        self._in_band = in_band
        self._orphaned = False  # the begin of the present element is lost: pass over the rest
        self._suspect = True
        asc = config.asc if config is not None else aac.make_config(clock_hz, 1)
        self.config = aac.codec_config(asc, clock_hz)

    def feed(self, buffer: memoryview, pos: int, end: int) -> None:
        if pos >= end or self._orphaned:
            return
        self.parts.append(bytes(buffer[pos:end]))
        self.kept_bytes += end - pos + PIECE_BYTES
        if self.kept_bytes > latm.MAX_ELEMENT_BYTES:
            self.malformed += 1
            self._drop()
            self._orphaned = True

    def marker(self) -> None:
        """The element is complete."""
        self._give()
        self._orphaned = False

    def flush(self) -> None:
        """Another timestamp, another element."""
        self.marker()

    def gap(self, packets: int) -> None:
        """An element that lost its end cannot be read; without markers it may be a whole one all the same."""
        self._orphaned = bool(self.parts)
        self._suspect = True
        self._give()
        self._suspect = True

    def _drop(self) -> None:
        self.parts.clear()
        self.kept_bytes = 0

    def _give(self) -> None:
        if not self.parts:
            return
        data, suspect = b"".join(self.parts), self._suspect
        self._drop()
        self._suspect = False
        try:
            mux, frames, whole = latm.read_element(data, self._mux, self._in_band)
            if suspect and not whole:
                return  # the loss is counted where it happened
            if mux.asc != self.config.extra:
                self.config = aac.codec_config(mux.asc, self._clock_hz)
        except BitstreamError:
            self.malformed += not suspect
            return
        self._mux = mux
        for index, frame in enumerate(frames):
            if frame:
                self._emit(frame, UnitType.AUDIO, False, index * self.config.frame_ticks)
