"""Uncompressed and ADPCM sound: how many samples lie in so many bytes (RFC 3551 §4.5).

Law: pure arithmetic on sizes. Called by the audio depacketisers, the sample entry and tests.
"""

from __future__ import annotations

from recorderd.media.access_unit import Codec, CodecConfig, MediaKind

MAX_CHANNELS = 8
G726_HZ = 8_000


def l16_config(rate_hz: int, channels: int) -> CodecConfig:
    """16-bit big-endian samples; a tick is one sample of every channel."""
    return CodecConfig(
        Codec.L16, MediaKind.AUDIO, rate_hz, sample_rate=rate_hz, channels=channels, codec_string="twos"
    )  # fmt: skip


def g726_config(bits: int, aal2: bool) -> CodecConfig:
    """G.726 at `bits` (2 to 5) a sample of 8 kHz. `aal2`: the first sample lies in the highest bits of a byte (I.366.2
    annex E), else in the lowest (RFC 3551 §4.5.4). `extra` is (bits, aal2) as two bytes."""
    name = f"{'aal2-' if aal2 else ''}g726-{bits * 8}"
    return CodecConfig(
        Codec.G726, MediaKind.AUDIO, G726_HZ, sample_rate=G726_HZ, channels=1, extra=bytes((bits, aal2)),
        codec_string=name,
    )  # fmt: skip


def samples_in(config: CodecConfig, size_bytes: int) -> int:
    """Samples of each channel in `size_bytes` of L16 or G.726."""
    if config.codec is Codec.G726:
        return size_bytes * 8 // config.extra[0]
    return size_bytes // (2 * config.channels)


def block_bytes(config: CodecConfig) -> int:
    """Bytes that a unit holds a whole multiple of; at 24 and 40 kbit/s only 8 samples of G.726 fill whole bytes."""
    if config.codec is Codec.G726:
        bits = config.extra[0]
        return 1 if 8 % bits == 0 else bits
    return 2 * config.channels
