"""From a session description to tracks: what to receive and with which depacketiser.

Law: pure; prefers the first medium of each kind that can be read. Called by the driver shell.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from functools import partial

from recorderd.media import aac
from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.media.bits import BitstreamError
from recorderd.media.nal import split_annex_b
from recorderd.wire import depay_h264, depay_h265
from recorderd.wire.depay_audio import AacDepacketiser, G711Depacketiser
from recorderd.wire.depay_h264 import H264Depacketiser
from recorderd.wire.depay_h265 import H265Depacketiser
from recorderd.wire.sdp import Format, MediaDescription, SessionDescription
from recorderd.wire.track import TrackPlan

_G711 = {"PCMU": (Codec.PCMU, "ulaw"), "PCMA": (Codec.PCMA, "alaw")}
_MAX_SET_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PlannedMedium:
    media: MediaDescription
    plan: TrackPlan


def plan_media(description: SessionDescription, audio: bool) -> list[PlannedMedium]:
    """At most one video and one audio medium, video first; empty when nothing can be read.

    A medium marked sendonly is one we would send (a speaker), unless the camera marks its picture so too.
    """
    video = [one for one in description.media if one.kind == "video"]
    sounds = [one for one in description.media if one.kind == "audio"] if audio else []
    turned = any(one.direction == "sendonly" for one in video)
    sounds = [one for one in sounds if turned or one.direction != "sendonly"]
    chosen: list[PlannedMedium] = []
    for group in (video, sounds):
        plans = (_plan(one, leads=not chosen) for one in group if one.direction != "inactive")
        first = next((plan for plan in plans if plan is not None), None)
        if first is not None:
            chosen.append(first)
    return chosen


def encodings(description: SessionDescription) -> list[str]:
    """Names of everything offered, for an error message."""
    return [fmt.encoding or str(fmt.payload_type) for one in description.media for fmt in one.formats]


def _plan(media: MediaDescription, leads: bool) -> PlannedMedium | None:
    for fmt in media.formats:
        same = frozenset(one.payload_type for one in media.formats if one.encoding == fmt.encoding)
        try:
            plan = _plan_format(fmt, same, leads)
        except (BitstreamError, ValueError):
            continue  # an AAC description that cannot be read: another format may do
        if plan is not None:
            return PlannedMedium(media, plan)
    return None


def _plan_format(fmt: Format, types: frozenset[int], leads: bool) -> TrackPlan | None:
    if fmt.encoding == "H264":
        sets = _sets(fmt.parameters, "sprop-parameter-sets")
        make = partial(H264Depacketiser, sets=sets)
        return TrackPlan(MediaKind.VIDEO, 90_000, types, make, depay_h264.HEAD, leads)
    if fmt.encoding in ("H265", "HEVC"):
        sets = _sets(fmt.parameters, "sprop-vps", "sprop-sps", "sprop-pps")
        make_hevc = partial(H265Depacketiser, sets=sets)
        return TrackPlan(MediaKind.VIDEO, 90_000, types, make_hevc, depay_h265.HEAD, leads)
    if fmt.encoding in _G711:
        codec, name = _G711[fmt.encoding]
        hz = fmt.clock_hz or 8000
        config = CodecConfig(
            codec, MediaKind.AUDIO, hz, sample_rate=hz, channels=fmt.channels, codec_string=name
        )  # fmt: skip
        return TrackPlan(MediaKind.AUDIO, hz, types, partial(G711Depacketiser, config=config), depay_h264.HEAD, leads)
    if fmt.encoding == "MPEG4-GENERIC":
        return _plan_aac(fmt, types, leads)
    return None


def _plan_aac(fmt: Format, types: frozenset[int], leads: bool) -> TrackPlan:
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
    make = partial(AacDepacketiser, config=config, size_bits=size_bits, index_bits=index_bits)
    return TrackPlan(MediaKind.AUDIO, hz, types, make, depay_h264.HEAD, leads)


def _sets(parameters: dict[str, str], *names: str) -> list[bytes]:
    """Parameter sets of the description; junk is left out, what comes in-band wins anyway."""
    found: list[bytes] = []
    for name in names:
        for text in parameters.get(name, "").split(","):
            try:
                nal = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
            except (binascii.Error, ValueError):
                continue
            found += [one for one in split_annex_b(nal) if 2 < len(one) <= _MAX_SET_BYTES]
    return found
