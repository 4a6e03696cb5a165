"""Opus: what a packet's first bytes say (RFC 6716 §3).

Law: pure; reads the framing of a packet, never its sound. Called by the Opus depacketiser, the sample entry and tests.
"""

from __future__ import annotations

from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.media.bits import BitstreamError

CLOCK_HZ = 48_000  # always, whatever was coded (RFC 7587 §4.1)
MAX_PACKET_SAMPLES = 5_760  # 120 ms
_CHANNELS = 2  # a decoder asked for two channels plays mono packets as well; asked for one it would mix down
_SILK_SAMPLES = (480, 960, 1920, 2880)
_HYBRID_SAMPLES = (480, 960)
_CELT_SAMPLES = (120, 240, 480, 960)


def codec_config(frame_samples: int = 0) -> CodecConfig:
    """`frame_samples`: length of a packet at 48 kHz, 0 while unknown."""
    return CodecConfig(
        Codec.OPUS, MediaKind.AUDIO, CLOCK_HZ, sample_rate=CLOCK_HZ, channels=_CHANNELS,
        frame_ticks=frame_samples, codec_string="opus",
    )  # fmt: skip


def packet_samples(packet: bytes) -> int:
    """Length of a packet at 48 kHz. Raises BitstreamError for one that RFC 6716 §3.4 forbids by its frame count."""
    if not packet:
        raise BitstreamError("an empty Opus packet")
    shape, code = packet[0] >> 3, packet[0] & 3
    if shape < 12:
        each = _SILK_SAMPLES[shape & 3]
    elif shape < 16:
        each = _HYBRID_SAMPLES[shape & 1]
    else:
        each = _CELT_SAMPLES[shape & 3]
    if code == 3 and len(packet) < 2:
        raise BitstreamError("an Opus packet without its frame count")
    count = (1, 2, 2)[code] if code < 3 else packet[1] & 0x3F
    if not 0 < each * count <= MAX_PACKET_SAMPLES:
        raise BitstreamError(f"an Opus packet of {count} frames")
    return each * count
