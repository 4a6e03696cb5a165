"""From a session description's sound format to its RTP clock and depacketiser.

Law: pure; as `media_plan`, which calls it. Clocks that a payload format fixes are taken from the format, not from the
camera. Raises BitstreamError or ValueError for a format whose parameters cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from recorderd.media import aac, latm, opus, pcm
from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.wire.depay import Depacketiser, Emit
from recorderd.wire.depay_audio import AacDepacketiser, G711Depacketiser
from recorderd.wire.depay_sound import LatmDepacketiser, OpusDepacketiser, SampleDepacketiser
from recorderd.wire.sdp import Format

_G711 = {"PCMU": (Codec.PCMU, "ulaw"), "PCMA": (Codec.PCMA, "alaw")}
# (bits a sample, first sample in the highest bits)
_G726 = {
    **{f"G726-{bits * 8}": (bits, False) for bits in (2, 3, 4, 5)},
    **{f"AAL2-G726-{bits * 8}": (bits, True) for bits in (2, 3, 4, 5)},
    "G726": (4, False),
    "G721": (4, False),
}
_L16_HZ = 44_100


@dataclass(frozen=True, slots=True)
class SoundPlan:
    """How to receive a sound: RTP clock and depacketiser."""

    clock_hz: int
    make: Callable[[Emit], Depacketiser]


def plan_sound(fmt: Format) -> SoundPlan | None:
    """None for an encoding that is not known."""
    if fmt.encoding in _G711:
        return _g711(fmt)
    if fmt.encoding == "MPEG4-GENERIC":
        return _aac(fmt)
    if fmt.encoding == "MP4A-LATM":
        return _latm(fmt)
    if fmt.encoding == "OPUS":
        return SoundPlan(opus.CLOCK_HZ, OpusDepacketiser)
    if fmt.encoding == "L16":
        return _samples(pcm.l16_config(fmt.clock_hz or _L16_HZ, min(max(fmt.channels, 1), pcm.MAX_CHANNELS)))
    if fmt.encoding in _G726:
        return _samples(pcm.g726_config(*_G726[fmt.encoding]))
    return None


def _samples(config: CodecConfig) -> SoundPlan:
    return SoundPlan(config.timebase_hz, partial(SampleDepacketiser, config=config))


def _g711(fmt: Format) -> SoundPlan:
    codec, name = _G711[fmt.encoding]
    hz = fmt.clock_hz or 8000
    config = CodecConfig(codec, MediaKind.AUDIO, hz, sample_rate=hz, channels=fmt.channels, codec_string=name)
    return SoundPlan(hz, partial(G711Depacketiser, config=config))


def _aac(fmt: Format) -> SoundPlan:
    parameters = fmt.parameters
    hz = fmt.clock_hz
    text = parameters.get("config", "")
    described = bytes.fromhex(text) if text else aac.make_config(hz or 8000, fmt.channels)
    config = aac.codec_config(described, hz or 8000)
    if not hz:
        hz = config.sample_rate
        config = aac.codec_config(described, hz)
    size_bits = int(parameters.get("sizelength") or 13)
    index_bits = int(parameters.get("indexlength") or 3)
    if not 1 <= size_bits <= 24 or not 0 <= index_bits <= 8:
        raise ValueError("AU headers of impossible size")
    return SoundPlan(hz, partial(AacDepacketiser, config=config, size_bits=size_bits, index_bits=index_bits))


def _latm(fmt: Format) -> SoundPlan:
    """RFC 6416 §7.3: without `cpresent` the configuration comes in-band."""
    text = fmt.parameters.get("config", "")
    mux = latm.read_config(bytes.fromhex(text)) if text else None
    in_band = fmt.parameters.get("cpresent", "1") != "0"
    if mux is None and not in_band:
        raise ValueError("LATM without any configuration")
    hz = fmt.clock_hz or (aac.codec_config(mux.asc, 8000).sample_rate if mux is not None else 90_000)
    return SoundPlan(hz, partial(LatmDepacketiser, clock_hz=hz, config=mux, in_band=in_band))
