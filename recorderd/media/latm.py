"""LATM: AAC frames out of audioMuxElements (ISO 14496-3 §1.7.3), as RTP carries them (RFC 6416 §5, §6).

Law: pure; bytes in, frames out, BitstreamError and nothing else for what cannot be read. One programme with one layer,
as every camera sends; other multiplexes are refused by name. Called by the LATM depacketiser and by `media_plan`.
"""

from __future__ import annotations

from dataclasses import dataclass

from recorderd.media.bits import BitstreamError

MAX_ELEMENT_BYTES = 1 << 16
_GA_TYPES = frozenset({1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22, 23})  # coded by GASpecificConfig
_ERROR_RESILIENT = frozenset({17, 19, 20, 21, 22, 23})
_SBR, _PS = 5, 29
_SYNC_EXTENSION, _SYNC_PS = 0x2B7, 0x548
_EXPLICIT_RATE = 15
_MAX_LENGTH_BYTES = 64  # of 255 each that announce one frame


@dataclass(frozen=True, slots=True)
class MuxConfig:
    """A StreamMuxConfig. `asc`: the AudioSpecificConfig, padded to whole bytes. `frames`: in each element.
    `fixed_bytes`: length of every frame, 0 when each says its own. `other_bits`: behind the frames, not sound."""

    asc: bytes
    frames: int
    fixed_bytes: int = 0
    other_bits: int = 0


class _Bits:
    """Bits of a whole element; the reader of headers is bounded to header sizes."""

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_ELEMENT_BYTES:
            raise BitstreamError(f"an audio element of {len(data)} bytes")
        self._value = int.from_bytes(data, "big")
        self._total = len(data) * 8
        self.at = 0

    def u(self, bits: int) -> int:
        self.at += bits
        if self.at > self._total:
            raise BitstreamError("an audio element ends too early")
        return self._value >> (self._total - self.at) & ((1 << bits) - 1)

    @property
    def left(self) -> int:
        """Bits not read yet; negative behind the end."""
        return self._total - self.at

    def peek(self, bits: int) -> int:
        """The next bits, -1 when there are not so many."""
        return self._value >> (self.left - bits) & ((1 << bits) - 1) if self.left >= bits else -1

    def take(self, count: int) -> bytes:
        """The next `count` bytes, aligned or not."""
        return self.u(count * 8).to_bytes(count, "big")

    def since(self, start: int) -> bytes:
        """The bits from `start` to here, padded to whole bytes."""
        count = self.at - start
        value = self._value >> (self._total - self.at) & ((1 << count) - 1)
        pad = -count % 8
        return (value << pad).to_bytes((count + pad) // 8, "big")


def read_config(data: bytes) -> MuxConfig:
    """A StreamMuxConfig as the session description gives it, or one that ends behind the AudioSpecificConfig, as
    GStreamer writes it. Raises BitstreamError."""
    bits = _Bits(data)
    frames, version, asc = _sound(bits)
    try:
        return _framing(bits, frames, version, asc)
    except BitstreamError:
        if bits.left >= 0:
            raise
        return MuxConfig(asc, frames)


def read_element(data: bytes, config: MuxConfig | None, in_band: bool) -> tuple[MuxConfig, list[bytes], bool]:
    """(the config that holds, the frames, whole) of one audioMuxElement. `in_band`: elements may carry a config
    (muxConfigPresent). `whole`: the frames fill the data. Raises BitstreamError, also when no config is known yet."""
    bits = _Bits(data)
    if in_band and not bits.u(1):
        config = _framing(bits, *_sound(bits))
    if config is None:
        raise BitstreamError("an audio element before its configuration")
    frames = [bits.take(config.fixed_bytes or _length(bits)) for _ in range(config.frames)]
    bits.u(config.other_bits)
    return config, frames, len(data) * 8 - bits.at < 8


def _length(bits: _Bits) -> int:
    total = 0
    for _ in range(_MAX_LENGTH_BYTES):
        octet = bits.u(8)
        total += octet
        if octet != 255:
            return total
    raise BitstreamError("an audio frame of impossible length")


def _sound(bits: _Bits) -> tuple[int, int, bytes]:
    """(frames of an element, version, AudioSpecificConfig): the first part of a StreamMuxConfig."""
    version = bits.u(1)
    if version and bits.u(1):
        raise BitstreamError("audioMuxVersionA is not known")
    if version:
        _value(bits)  # taraBufferFullness
    same_time, sub_frames, programs, layers = bits.u(1), bits.u(6), bits.u(4), bits.u(3)
    if not same_time or programs or layers:
        raise BitstreamError("a multiplex of several sounds")
    if version:
        length = _value(bits)
        start = bits.at
        bits.u(length)
        asc = bits.since(start)
    else:
        start = bits.at
        _audio_specific_config(bits)
        asc = bits.since(start)
    return sub_frames + 1, version, asc


def _framing(bits: _Bits, frames: int, version: int, asc: bytes) -> MuxConfig:
    """The second part: how long frames are and what else is in an element."""
    kind = bits.u(3)
    if kind == 0:
        bits.u(8)  # latmBufferFullness
        fixed = 0
    elif kind == 1:
        fixed = bits.u(9) + 20
    else:
        raise BitstreamError(f"frame length type {kind} is not AAC's")
    other_bits = _other_data(bits, version)
    if bits.u(1):
        bits.u(8)  # crcCheckSum
    return MuxConfig(asc, frames, fixed, other_bits)


def _other_data(bits: _Bits, version: int) -> int:
    if not bits.u(1):
        return 0
    if version:
        return _value(bits)
    length = 0
    for _ in range(4):
        more = bits.u(1)
        length = length << 8 | bits.u(8)
        if not more:
            break
    if length > MAX_ELEMENT_BYTES * 8:
        raise BitstreamError("more other data than an element can hold")
    return length


def _value(bits: _Bits) -> int:
    """LatmGetValue."""
    value = bits.u((bits.u(2) + 1) * 8)
    if value > MAX_ELEMENT_BYTES * 8:
        raise BitstreamError("a length beyond any element")
    return value


def _object_type(bits: _Bits) -> int:
    kind = bits.u(5)
    return 32 + bits.u(6) if kind == 31 else kind


def _rate(bits: _Bits) -> None:
    if bits.u(4) == _EXPLICIT_RATE:
        bits.u(24)


def _audio_specific_config(bits: _Bits) -> None:
    """Step over an AudioSpecificConfig (§1.6.2.1): inside version 0 nothing else tells its length."""
    kind = _object_type(bits)
    _rate(bits)
    channels = bits.u(4)
    if kind in (_SBR, _PS):
        _rate(bits)
        kind = _object_type(bits)
    if kind not in _GA_TYPES:
        raise BitstreamError(f"audio object type {kind} is not AAC")
    bits.u(1)  # frameLengthFlag
    if bits.u(1):
        bits.u(14)  # coreCoderDelay
    extension = bits.u(1)
    if not channels:
        _program_config(bits, bits.at)
    if kind in (6, 20):
        bits.u(3)
    if extension:
        if kind == 22:
            bits.u(16)
        if kind in (17, 19, 20, 23):
            bits.u(3)
        bits.u(1)
    if kind in _ERROR_RESILIENT and bits.u(2) >= 2:
        raise BitstreamError("AAC with its own error protection")
    # No framing of AAC begins with these bits, so they can only be the extension that a decoder may look for.
    if bits.peek(11) == _SYNC_EXTENSION:
        bits.u(11)
        if _object_type(bits) == _SBR and bits.u(1):
            _rate(bits)
            if bits.peek(11) == _SYNC_PS:
                bits.u(12)


def _program_config(bits: _Bits, origin: int) -> None:
    """Step over a program_config_element (§4.4.1.1), whose alignment counts from the config's begin."""
    bits.u(10)  # tag, object type, sampling frequency index
    front, side, back, lfe, data, coupling = (bits.u(width) for width in (4, 4, 4, 2, 3, 4))
    for width in (4, 4, 3):
        if bits.u(1):
            bits.u(width)
    bits.u(5 * (front + side + back) + 4 * (lfe + data) + 5 * coupling)
    bits.u(-(bits.at - origin) % 8)
    bits.u(8 * bits.u(8))
