"""From a session description to tracks: what to receive and with which depacketiser.

Law: pure; prefers the first medium of each kind that can be read. Called by the driver shell.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import partial

from recorderd.media import jpeg
from recorderd.media import metadata as onvif_metadata
from recorderd.media.access_unit import MediaKind
from recorderd.media.bits import BitstreamError
from recorderd.media.nal import split_annex_b
from recorderd.wire import depay_h264, depay_h265
from recorderd.wire.depay_h264 import H264Depacketiser
from recorderd.wire.depay_h265 import H265Depacketiser
from recorderd.wire.depay_jpeg import JpegDepacketiser
from recorderd.wire.depay_metadata import MetadataDepacketiser
from recorderd.wire.sdp import Format, MediaDescription, SessionDescription
from recorderd.wire.sound_plan import plan_sound
from recorderd.wire.track import TrackPlan

_METADATA = "VND.ONVIF.METADATA"
_SIZE = re.compile(r"(\d{1,5})[-,](\d{1,5})", re.ASCII)
_MAX_SET_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PlannedMedium:
    media: MediaDescription
    plan: TrackPlan


def plan_media(description: SessionDescription, audio: bool, metadata: bool = True) -> list[PlannedMedium]:
    """At most one medium of video, of audio and of metadata, in this order; empty when there is neither video nor
    audio that can be read: metadata alone says nothing about a picture.

    A medium marked sendonly is one we would send (a speaker), unless the camera marks its picture so too.
    """
    video = [one for one in description.media if one.kind == "video"]
    turned = any(one.direction == "sendonly" for one in video)
    heard = [one for one in description.media if turned or one.direction != "sendonly"]
    sounds = [one for one in heard if one.kind == "audio"] if audio else []
    told = [one for one in heard if one.kind not in ("video", "audio")] if metadata else []
    chosen: list[PlannedMedium] = []
    for group in (video, sounds, told):
        plans = (_plan(one, leads=not chosen) for one in group if one.direction != "inactive")
        first = next((plan for plan in plans if plan is not None), None)
        if first is not None and (chosen or group is not told):
            chosen.append(first)
    return chosen


def encodings(description: SessionDescription) -> list[str]:
    """Names of everything offered, for an error message."""
    return [fmt.encoding or str(fmt.payload_type) for one in description.media for fmt in one.formats]


def _plan(media: MediaDescription, leads: bool) -> PlannedMedium | None:
    for fmt in media.formats:
        try:
            plan = _plan_format(media, fmt, leads)
        except (BitstreamError, ValueError):
            continue  # a description that cannot be read: another format may do
        if plan is not None:
            return PlannedMedium(media, plan)
    return None


def _plan_format(media: MediaDescription, fmt: Format, leads: bool) -> TrackPlan | None:
    same = frozenset(one.payload_type for one in media.formats if one.encoding == fmt.encoding)
    if fmt.encoding == "H264":
        sets = _sets(fmt.parameters, "sprop-parameter-sets")
        make = partial(H264Depacketiser, sets=sets)
        return TrackPlan(MediaKind.VIDEO, 90_000, same, make, depay_h264.HEAD, leads)
    if fmt.encoding in ("H265", "HEVC"):
        sets = _sets(fmt.parameters, "sprop-vps", "sprop-sps", "sprop-pps")
        make_hevc = partial(H265Depacketiser, sets=sets)
        return TrackPlan(MediaKind.VIDEO, 90_000, same, make_hevc, depay_h265.HEAD, leads)
    if fmt.encoding == "JPEG":
        make_jpeg = partial(JpegDepacketiser, size=_described_size(media, fmt))
        return TrackPlan(MediaKind.VIDEO, jpeg.CLOCK_HZ, same, make_jpeg, depay_h264.HEAD, leads)
    if fmt.encoding.startswith(_METADATA):
        media_type = onvif_metadata.EXI if ".EXI" in fmt.encoding else onvif_metadata.XML
        make_told = partial(MetadataDepacketiser, config=onvif_metadata.codec_config(media_type))
        return TrackPlan(MediaKind.METADATA, onvif_metadata.CLOCK_HZ, same, make_told, depay_h264.HEAD, leads)
    same = frozenset(
        one.payload_type
        for one in media.formats
        if (one.encoding, one.clock_hz, one.channels) == (fmt.encoding, fmt.clock_hz, fmt.channels)
    )
    planned = plan_sound(fmt)
    if planned is None:
        return None
    return TrackPlan(MediaKind.AUDIO, planned.clock_hz, same, planned.make, depay_h264.HEAD, leads)


def _described_size(media: MediaDescription, fmt: Format) -> tuple[int, int]:
    """`a=framesize:26 1920-1080` (3GPP TS 26.234) or `a=x-dimensions:1920,1080`; (0, 0) without either."""
    for key, value in media.attributes:
        if key == "framesize":
            number, _, value = value.partition(" ")
            if number != str(fmt.payload_type):
                continue
        elif key != "x-dimensions":
            continue
        found = _SIZE.fullmatch(value.strip())
        if found is not None:
            return int(found[1]), int(found[2])
    return 0, 0


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
