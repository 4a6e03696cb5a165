"""The clip that the driver repeats, and the tone it adds.

Law: pure reading of shipped bytes, never a decoder. File (`clip.bin`): "RSYN", u16 fps it was made at, u16 number
of units, then each unit as u32 length + data; data are NAL units behind 4-byte lengths; the first unit is an
IDR picture that carries SPS and PPS, all others refer back. Numbers are big-endian. `make_clip.py` beside the
driver's tests makes it.
"""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from functools import cache
from importlib.resources import files

from recorderd.media import h264
from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.media.nal import split_units

_HEAD = struct.Struct(">4sHH")
AUDIO_HZ = 8_000
AUDIO_SAMPLES = 160  # 20 ms, the usual G.711 packet
_TONE_HZ = 400  # a whole number of periods per packet: every packet is the same


@cache
def read_clip() -> tuple[bytes, ...]:
    """The clip's access units, in order."""
    data = files(__package__).joinpath("clip.bin").read_bytes()
    magic, _, count = _HEAD.unpack_from(data)
    if magic != b"RSYN":
        raise ValueError("clip.bin is not a clip: make it again with make_clip.py")
    units, pos = [], _HEAD.size
    for _ in range(count):
        size = int.from_bytes(data[pos : pos + 4], "big")
        units.append(data[pos + 4 : pos + 4 + size])
        pos += 4 + size
    return tuple(units)


def video_config(key_unit: bytes, fps: int) -> CodecConfig:
    """What the clip is coded as, at `fps` pictures per second."""
    wanted = (h264.SPS, h264.PPS)
    sets = tuple(bytes(nal) for nal in split_units(key_unit) if nal[0] & 0x1F in wanted)
    return replace(h264.codec_config(sets), frame_ticks=h264.RTP_HZ // fps)


def audio_config() -> CodecConfig:
    return CodecConfig(
        Codec.PCMU,
        MediaKind.AUDIO,
        AUDIO_HZ,
        sample_rate=AUDIO_HZ,
        channels=1,
        frame_ticks=AUDIO_SAMPLES,
        codec_string="ulaw",
    )


@cache
def tone() -> bytes:
    """20 ms of a quiet tone as G.711 mu-law."""
    step = 2 * math.pi * _TONE_HZ / AUDIO_HZ
    return bytes(_mu_law(round(4_000 * math.sin(step * i))) for i in range(AUDIO_SAMPLES))


def _mu_law(sample: int) -> int:
    """One 16-bit sample as mu-law (ITU-T G.711 table 2a: biased magnitude, exponent, mantissa, inverted)."""
    magnitude = min(abs(sample), 32_635) + 132
    exponent = magnitude.bit_length() - 8
    mantissa = magnitude >> (exponent + 3) & 0x0F
    return ~((0x80 if sample < 0 else 0) | exponent << 4 | mantissa) & 0xFF
