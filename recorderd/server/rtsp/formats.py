"""What a track is coded as, told to RTSP viewers: stored configurations and units' configurations to SDP tracks.

Law: pure. Called by the mounts.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from mediadb.mp4.boxes import Mp4Error
from mediadb.mp4.entry_reader import parse_entry
from mediadb.types import TrackConfig, TrackKind
from recorderd.media import metadata, opus, pcm
from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.rtspserver.mount import Track
from recorderd.wire.pay import PAYABLE

_STATIC = {Codec.PCMU: 0, Codec.PCMA: 8}
_DYNAMIC = {MediaKind.VIDEO: 96, MediaKind.AUDIO: 97, MediaKind.METADATA: 98}
MEDIA_KINDS = {
    TrackKind.VIDEO: MediaKind.VIDEO,
    TrackKind.AUDIO: MediaKind.AUDIO,
    TrackKind.METADATA: MediaKind.METADATA,
}


def coded_as(stored: TrackConfig, kind: TrackKind) -> CodecConfig | None:
    """The configuration that was recorded; None for one that cannot be sent by RTP here."""
    if stored.codec not in set(PAYABLE):
        return None
    codec = Codec(stored.codec)
    if codec is Codec.OPUS:
        return opus.codec_config(stored.frame_ticks)
    if codec is Codec.L16:
        return pcm.l16_config(stored.sample_rate or stored.timebase_hz, stored.channels or 1)
    if codec is Codec.ONVIF_METADATA:
        return metadata.codec_config(metadata.XML)
    try:
        entry = parse_entry(stored.sample_entry)
    except Mp4Error:
        return None
    if codec is Codec.G726:
        return _g726(stored)
    return CodecConfig(
        codec=codec,
        kind=MEDIA_KINDS[kind],
        timebase_hz=stored.timebase_hz,
        width=stored.width,
        height=stored.height,
        sample_rate=stored.sample_rate,
        channels=stored.channels,
        parameter_sets=entry.parameter_sets,
        extra=entry.asc,
        frame_ticks=stored.frame_ticks,
        codec_string=stored.codec_string,
    )


def _g726(stored: TrackConfig) -> CodecConfig | None:
    """`codec_string` is "g726-32" or "aal2-g726-32" (see `media.pcm`)."""
    name, _, rate = stored.codec_string.rpartition("-")
    return pcm.g726_config(int(rate) // 8, name.startswith("aal2")) if rate in ("16", "24", "32", "40") else None


def sdp_tracks(configs: Iterable[CodecConfig], attributes: tuple[str, ...] = ()) -> tuple[Track, ...]:
    """Tracks in the order given, each with an SSRC of its own."""
    return tuple(Track(config, _payload_type(config), secrets.randbits(32), attributes) for config in configs)


def _payload_type(config: CodecConfig) -> int:
    plain = config.timebase_hz == 8000 and config.channels <= 1
    return _STATIC.get(config.codec, _DYNAMIC[config.kind]) if plain else _DYNAMIC[config.kind]
