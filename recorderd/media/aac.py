"""AAC: the AudioSpecificConfig (ISO 14496-3 1.6.2.1).

Law: pure; reads the header that describes a track, never a frame. Called by the AAC depacketiser and tests.
"""

from __future__ import annotations

from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.media.bits import BitReader, BitstreamError

SAMPLE_RATES = (
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
)  # fmt: skip
_EXPLICIT_RATE = 15
_ESCAPE_TYPE = 31
_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)


def codec_config(audio_specific_config: bytes, clock_hz: int) -> CodecConfig:
    """The config of a track whose RTP clock runs at `clock_hz`. Raises BitstreamError."""
    bits = BitReader(audio_specific_config)
    object_type = bits.u(5)
    if object_type == _ESCAPE_TYPE:
        object_type = 32 + bits.u(6)
    index = bits.u(4)
    if index == _EXPLICIT_RATE:
        rate = bits.u(24)
    elif index < len(SAMPLE_RATES):
        rate = SAMPLE_RATES[index]
    else:
        raise BitstreamError("an AAC configuration with a reserved sample rate")
    channels = bits.u(4)
    if not object_type or not rate:
        raise BitstreamError("an empty AAC configuration")
    return CodecConfig(
        Codec.AAC,
        MediaKind.AUDIO,
        clock_hz,
        sample_rate=rate,
        channels=_CHANNELS[channels] if channels < len(_CHANNELS) else 0,
        extra=audio_specific_config,
        frame_ticks=1024 * clock_hz // rate,
        codec_string=f"mp4a.40.{object_type}",
    )


def make_config(sample_rate: int, channels: int) -> bytes:
    """An AAC-LC AudioSpecificConfig, for cameras that leave theirs out of the session description."""
    index = SAMPLE_RATES.index(sample_rate) if sample_rate in SAMPLE_RATES else _EXPLICIT_RATE
    bits, size = 2 << 4 | index, 9
    if index == _EXPLICIT_RATE:
        bits, size = bits << 24 | sample_rate, size + 24
    bits, size = bits << 4 | (channels & 15), size + 4
    pad = -size % 8
    return (bits << pad).to_bytes((size + pad) // 8, "big")
