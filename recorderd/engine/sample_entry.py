"""From what the driver says a track is coded as to what the media database stores: the ready MP4 sample entry.

Law: pure. The database never parses NAL units, so everything an MP4 needs is worked out here, once per
configuration. Called by a track's recorder when the unit's CodecConfig changes.
"""

from __future__ import annotations

from collections.abc import Callable

from mediadb.mp4.entries import (
    HevcProfile,
    avc1_entry,
    g711_entry,
    g726_entry,
    hvc1_entry,
    jpeg_entry,
    metadata_entry,
    mp4a_entry,
    opus_entry,
    pcm16_entry,
)
from mediadb.types import TrackConfig
from recorderd.core.errors import RecorderdError
from recorderd.media import h264, h265
from recorderd.media.access_unit import Codec, CodecConfig
from recorderd.media.bits import BitstreamError

# A picture size is demanded by the box; players take the true one from the SPS when we cannot read it.
_UNKNOWN_SIZE = 16


class UnusableConfig(RecorderdError):
    """The parameter sets are missing or broken: nobody could ever decode what follows."""

    code = "unusable-config"


def track_config(config: CodecConfig) -> TrackConfig:
    """The stored form of `config`. Raises UnusableConfig."""
    try:
        entry = _ENTRIES[config.codec](config)
    except (ValueError, BitstreamError) as error:
        raise UnusableConfig(f"no sample entry for {config.codec}: {error}", codec=str(config.codec)) from error
    return TrackConfig(
        codec=str(config.codec),
        timebase_hz=config.timebase_hz,
        sample_entry=entry,
        width=config.width,
        height=config.height,
        sample_rate=config.sample_rate,
        channels=config.channels,
        codec_string=config.codec_string,
        frame_ticks=config.frame_ticks,
    )


def _size(config: CodecConfig) -> tuple[int, int]:
    return config.width or _UNKNOWN_SIZE, config.height or _UNKNOWN_SIZE


def _h264(config: CodecConfig) -> bytes:
    sets: dict[int, list[bytes]] = {h264.SPS: [], h264.PPS: []}
    for nal in config.parameter_sets:
        sets.get(nal[0] & 0x1F, []).append(nal)
    return avc1_entry(*_size(config), sets[h264.SPS], sets[h264.PPS])


def _h265(config: CodecConfig) -> bytes:
    sets: dict[int, list[bytes]] = {h265.VPS: [], h265.SPS: [], h265.PPS: []}
    for nal in config.parameter_sets:
        sets.get(h265.nal_type(nal[0]), []).append(nal)
    if not sets[h265.SPS]:
        raise ValueError("no SPS")
    sps = h265.parse_sps(sets[h265.SPS][0])
    profile = HevcProfile(
        sps.profile_tier_level, sps.chroma_format, sps.bit_depth_luma, sps.bit_depth_chroma,
        sps.temporal_layers, sps.temporal_id_nested,
    )  # fmt: skip
    return hvc1_entry(*_size(config), list(sets.values()), profile)


def _aac(config: CodecConfig) -> bytes:
    return mp4a_entry(config.extra, config.sample_rate, config.channels)


def _ulaw(config: CodecConfig) -> bytes:
    return g711_entry("ulaw", config.sample_rate or 8000, config.channels or 1)


def _alaw(config: CodecConfig) -> bytes:
    return g711_entry("alaw", config.sample_rate or 8000, config.channels or 1)


def _opus(config: CodecConfig) -> bytes:
    # What lies before the first packet is not known: nothing is skipped.
    return opus_entry(config.channels or 2)


def _l16(config: CodecConfig) -> bytes:
    return pcm16_entry(config.sample_rate, config.channels or 1)


def _g726(config: CodecConfig) -> bytes:
    if len(config.extra) != 2:
        raise ValueError("nothing says how G.726 is packed")
    return g726_entry(config.extra[0], bool(config.extra[1]))


def _jpeg(config: CodecConfig) -> bytes:
    return jpeg_entry(*_size(config))


def _metadata(config: CodecConfig) -> bytes:
    return metadata_entry(config.extra.decode("ascii"))


_ENTRIES: dict[Codec, Callable[[CodecConfig], bytes]] = {
    Codec.H264: _h264,
    Codec.H265: _h265,
    Codec.AAC: _aac,
    Codec.PCMU: _ulaw,
    Codec.PCMA: _alaw,
    Codec.OPUS: _opus,
    Codec.L16: _l16,
    Codec.G726: _g726,
    Codec.JPEG: _jpeg,
    Codec.ONVIF_METADATA: _metadata,
}
