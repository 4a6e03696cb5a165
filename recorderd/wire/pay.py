"""Stored and live units to RTP payloads: what a codec's payload format makes of one access unit.

Law: pure; the counterpart of the depacketisers. A payload carries its distance in ticks from the unit's time, which
is 0 except for uncompressed sound cut in pieces. The RTP header is put on by `rtp_send`. Called by servers that send.

H.264: RFC 6184 packetization-mode 1 (single NAL unit, STAP-A, FU-A); H.265: RFC 7798 (single, AP, FU; no DONL);
JPEG: RFC 2435; AAC: RFC 3640 mode AAC-hbr; G.711, G.726, L16: RFC 3551; Opus: RFC 7587; metadata: ONVIF Streaming
§5.1.2.1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from recorderd.media import h264, h265, pcm
from recorderd.media.access_unit import Codec, CodecConfig
from recorderd.media.nal import split_units
from recorderd.wire.pay_jpeg import jpeg_payloads
from recorderd.wire.rtp_send import DEFAULT_MAX_PAYLOAD_BYTES, aac_payloads, h264_payloads, h265_payloads

Payload = tuple[bytes, int]  # bytes, ticks behind the unit's time

_STAP_A = 24
_AP_H265 = 48
_LENGTH_BYTES = 2


def unit_payloads(
    config: CodecConfig, data: bytes, max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES
) -> list[Payload]:
    """One access unit (form: `media.access_unit.AccessUnit.data`) as the payloads of its packets, in order; the marker
    belongs on the last. Raises ValueError for a unit that the format cannot carry, KeyError for a codec without one
    here (see `PAYABLE`)."""
    return _FORMATS[config.codec](config, data, max_payload_bytes)


def has_parameter_sets(codec: Codec, data: bytes) -> bool:
    """Does an access unit bring its own sequence parameter set?"""
    if codec is Codec.H264:
        return any(nal[0] & 0x1F == h264.SPS for nal in split_units(data) if nal)
    return any(h265.nal_type(nal[0]) == h265.SPS for nal in split_units(data) if nal)


def is_disposable(codec: Codec, data: bytes) -> bool:
    """Does no other picture refer to this one? H.264: nal_ref_idc 0; H.265: a sub-layer non-reference picture."""
    for nal in split_units(data):
        if not nal:
            continue
        if codec is Codec.H264 and 1 <= nal[0] & 0x1F <= 5:
            return not nal[0] & 0x60
        if codec is Codec.H265 and h265.nal_type(nal[0]) < 32:
            return h265.nal_type(nal[0]) < 16 and not h265.nal_type(nal[0]) & 1
    return False


def _h264(config: CodecConfig, data: bytes, limit: int) -> list[Payload]:
    return [(payload, 0) for group in _grouped(data, limit, 1) for payload in _h264_group(group, limit)]


def _h264_group(nals: list[bytes], limit: int) -> list[bytes]:
    if len(nals) == 1:
        return h264_payloads(nals[0], limit)
    forbidden = max(nal[0] & 0x80 for nal in nals)
    importance = max(nal[0] & 0x60 for nal in nals)
    return [bytes((forbidden | importance | _STAP_A,)) + _sized(nals)]


def _h265(config: CodecConfig, data: bytes, limit: int) -> list[Payload]:
    return [(payload, 0) for group in _grouped(data, limit, 2) for payload in _h265_group(group, limit)]


def _h265_group(nals: list[bytes], limit: int) -> list[bytes]:
    if len(nals) == 1:
        return h265_payloads(nals[0], limit)
    forbidden = max(nal[0] & 0x80 for nal in nals)
    layer = min((nal[0] & 1) << 5 | nal[1] >> 3 for nal in nals)
    temporal = min(nal[1] & 7 for nal in nals)
    return [bytes((forbidden | _AP_H265 << 1 | layer >> 5, (layer & 31) << 3 | temporal)) + _sized(nals)]


def _grouped(data: bytes, limit: int, head_bytes: int) -> Iterable[list[bytes]]:
    """NAL units in order, small neighbours together: parameter sets and SEI share the packet of what follows."""
    group: list[bytes] = []
    size = head_bytes
    for nal in split_units(data):
        if len(nal) < head_bytes:
            continue  # no NAL unit header
        if group and size + _LENGTH_BYTES + len(nal) > limit:
            yield group
            group, size = [], head_bytes
        group.append(nal)
        size += _LENGTH_BYTES + len(nal)
    if group:
        yield group


def _sized(nals: list[bytes]) -> bytes:
    return b"".join(part for nal in nals for part in (len(nal).to_bytes(_LENGTH_BYTES, "big"), nal))


def _aac(config: CodecConfig, data: bytes, limit: int) -> list[Payload]:
    return [(payload, 0) for payload in aac_payloads(data, limit)]


def _g711(config: CodecConfig, data: bytes, limit: int) -> list[Payload]:
    channels = config.channels or 1
    step = limit - limit % channels
    return [(data[at : at + step], at // channels) for at in range(0, len(data), step)]


def _pcm(config: CodecConfig, data: bytes, limit: int) -> list[Payload]:
    step = limit - limit % pcm.block_bytes(config)
    return [(data[at : at + step], pcm.samples_in(config, at)) for at in range(0, len(data), step)]


def _whole(config: CodecConfig, data: bytes, limit: int) -> list[Payload]:
    if len(data) > limit:
        raise ValueError(f"a unit of {len(data)} bytes does not fit one packet")
    return [(data, 0)]


def _jpeg(config: CodecConfig, data: bytes, limit: int) -> list[Payload]:
    return [(payload, 0) for payload in jpeg_payloads(data, limit)]


def _document(config: CodecConfig, data: bytes, limit: int) -> list[Payload]:
    return [(data[at : at + limit], 0) for at in range(0, len(data), limit)]


_FORMATS: dict[Codec, Callable[[CodecConfig, bytes, int], list[Payload]]] = {
    Codec.H264: _h264,
    Codec.H265: _h265,
    Codec.JPEG: _jpeg,
    Codec.AAC: _aac,
    Codec.PCMU: _g711,
    Codec.PCMA: _g711,
    Codec.L16: _pcm,
    Codec.G726: _pcm,
    Codec.OPUS: _whole,
    Codec.ONVIF_METADATA: _document,
}
PAYABLE = frozenset(_FORMATS)
