"""Session descriptions for DESCRIBE: tracks to SDP text.

Law: pure text making, the counterpart of `wire.sdp`, which reads. RFC 8866; fmtp by RFC 6184 §8.1 (H.264),
RFC 7798 §7.1 (H.265), RFC 3640 §4.1 (AAC-hbr); names by RFC 3551 (G.711, G.726, L16), RFC 7587 (Opus) and ONVIF
Streaming (metadata).
"""

from __future__ import annotations

import base64

from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.rtspserver.mount import Presentation, Track

TRACK_CONTROL = "trackID="

_KINDS = {MediaKind.VIDEO: "video", MediaKind.AUDIO: "audio", MediaKind.METADATA: "application"}
_NAMES = {
    Codec.H264: "H264",
    Codec.H265: "H265",
    Codec.JPEG: "JPEG",
    Codec.AAC: "MPEG4-GENERIC",
    Codec.PCMU: "PCMU",
    Codec.PCMA: "PCMA",
    Codec.L16: "L16",
    Codec.OPUS: "opus",
}


def describe(presentation: Presentation, base_url: str, query: str, session_name: str) -> bytes:
    """The SDP of a mount. Control addresses are absolute, because clients disagree about how to join a relative one
    to a base that has a query."""
    lines = [
        "v=0",
        "o=- 0 0 IN IP4 0.0.0.0",
        f"s={session_name}",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        f"a=range:{presentation.range}",
    ]
    for number, track in enumerate(presentation.tracks):
        lines += _media(track)
        lines.append(f"a=control:{base_url}/{TRACK_CONTROL}{number}" + (f"?{query}" if query else ""))
    return ("\r\n".join(lines) + "\r\n").encode()


def encoding_name(config: CodecConfig) -> str:
    """The rtpmap name of a codec."""
    if config.codec is Codec.G726:
        bits, is_aal2 = config.extra[0], config.extra[1]
        return f"{'AAL2-' if is_aal2 else ''}G726-{bits * 8}"
    if config.codec is Codec.ONVIF_METADATA:
        return config.extra.decode("ascii", "replace").partition("/")[2]
    return _NAMES[config.codec]


def _media(track: Track) -> list[str]:
    config, number = track.config, track.payload_type
    lines = [
        f"m={_KINDS[config.kind]} 0 RTP/AVP {number}",
        f"a=rtpmap:{number} {encoding_name(config)}/{config.timebase_hz}{_channels(config)}",
    ]
    parameters = _parameters(config)
    if parameters:
        lines.append(f"a=fmtp:{number} {parameters}")
    if config.frame_ticks and config.kind is MediaKind.VIDEO:
        lines.append(f"a=framerate:{config.timebase_hz / config.frame_ticks:g}")
    if config.codec is Codec.JPEG and config.width:
        lines.append(f"a=framesize:{number} {config.width}-{config.height}")
    return lines + [f"a={attribute}" for attribute in track.attributes]


def _channels(config: CodecConfig) -> str:
    if config.codec is Codec.OPUS:
        return "/2"  # whatever the stream holds: RFC 7587 §7
    return f"/{config.channels}" if config.codec in (Codec.AAC, Codec.L16) else ""


def _parameters(config: CodecConfig) -> str:
    if config.codec is Codec.H264:
        sets = ",".join(_base64(nal) for nal in config.parameter_sets)
        profile = next((nal[1:4].hex().upper() for nal in config.parameter_sets if nal[0] & 0x1F == 7), "")
        return f"packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={sets}"
    if config.codec is Codec.H265:
        by_type = [(32, "sprop-vps"), (33, "sprop-sps"), (34, "sprop-pps")]
        return ";".join(
            f"{name}=" + ",".join(_base64(nal) for nal in config.parameter_sets if nal[0] >> 1 & 0x3F == kind)
            for kind, name in by_type
        )
    if config.codec is Codec.AAC:
        return (
            "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3"
            f";config={config.extra.hex().upper()}"
        )
    return ""


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
