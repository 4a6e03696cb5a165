"""Sample entries: how the samples of a track are coded (ISO/IEC 14496-12 §8.5.2, -14 §5.6, -15 §5.4 and §8.4; Opus in
ISO base media §4.3.2; timed metadata ISO/IEC 14496-12 §12.3.3).

Law: bytes of parameter sets are copied, never interpreted, except the three profile bytes that ISO/IEC 14496-15
copies out of the first SPS. Whatever else an entry needs (dimensions, chroma, the HEVC profile) the caller knows
from its own parser and passes in. An entry is a pure function of its arguments: equal arguments, equal bytes.
Called when a codec configuration is stored, by the writers of this package through the stored bytes, and by tests.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from mediadb.mp4.boxes import box, full_box

# profile_idc values whose avcC carries chroma and bit depths (ISO/IEC 14496-15 §5.3.3.1.2)
_AVC_HIGH_PROFILES = frozenset({100, 110, 122, 144})
_NAL_VPS, _NAL_SPS, _NAL_PPS = 32, 33, 34


@dataclass(frozen=True, slots=True)
class AvcChroma:
    """What the avcC of a high profile says beside the profile: from the SPS, as the caller parsed it."""

    chroma_format: int = 1
    bit_depth_luma: int = 8
    bit_depth_chroma: int = 8


@dataclass(frozen=True, slots=True)
class HevcProfile:
    """What hvcC repeats from the first SPS.

    `general`: the 12 bytes of profile_tier_level from general_profile_space to general_level_idc (ITU-T H.265
    §7.3.3). `temporal_layers`: 0 = unknown. `temporal_id_nested`: sps_temporal_id_nesting_flag.
    """

    general: bytes
    chroma_format: int = 1
    bit_depth_luma: int = 8
    bit_depth_chroma: int = 8
    temporal_layers: int = 1
    temporal_id_nested: bool = True


def _visual_entry(kind: bytes, width: int, height: int, config: bytes) -> bytes:
    if not (0 < width < 1 << 16 and 0 < height < 1 << 16):
        raise ValueError(f"picture size {width}x{height} does not fit a sample entry")
    # 72 dpi, one frame per sample, no compressor name, depth 24, pre_defined -1 (§12.1.3)
    fixed = struct.pack(
        ">6xH16xHHIII H 32x Hh", 1, width, height, 0x480000, 0x480000, 0, 1, 0x18, -1
    )  # fmt: skip
    return box(kind, fixed, config)


def _sized(nal_units: Sequence[bytes]) -> bytes:
    for nal in nal_units:
        if not 0 < len(nal) < 1 << 16:
            raise ValueError(f"parameter set of {len(nal)} bytes does not fit a sample entry")
    return b"".join(struct.pack(">H", len(nal)) + nal for nal in nal_units)


def avc1_entry(
    width: int, height: int, sps: Sequence[bytes], pps: Sequence[bytes], chroma: AvcChroma | None = None
) -> bytes:
    """H.264 with 4-byte NAL lengths. `chroma` fills the high-profile fields; None leaves them out (unknown).

    ValueError when there is no SPS of at least 4 bytes, or more sets than the record can count."""
    if not sps or len(sps[0]) < 4 or len(sps) > 31 or len(pps) > 255:
        raise ValueError("avcC needs 1 to 31 SPS of at least 4 bytes and at most 255 PPS")
    record = b"\x01" + sps[0][1:4] + bytes((0xFF, 0xE0 | len(sps))) + _sized(sps)
    record += bytes((len(pps),)) + _sized(pps)
    if chroma is not None and sps[0][1] in _AVC_HIGH_PROFILES:
        record += bytes(
            (
                0xFC | chroma.chroma_format & 3,
                0xF8 | chroma.bit_depth_luma - 8,
                0xF8 | chroma.bit_depth_chroma - 8,
                0,
            )
        )
    return _visual_entry(b"avc1", width, height, box(b"avcC", record))


def hvc1_entry(width: int, height: int, sets: Sequence[Sequence[bytes]], profile: HevcProfile) -> bytes:
    """H.265 with 4-byte NAL lengths; `sets` is (VPS..., SPS..., PPS...) as three sequences.

    Parameter sets are marked complete (array_completeness 1), as `hvc1` demands; players tolerate repeats in-band.
    """
    if len(profile.general) != 12:
        raise ValueError("HevcProfile.general must be 12 bytes")
    if len(sets) != 3 or not sets[1]:
        raise ValueError("hvcC needs VPS, SPS and PPS lists and at least one SPS")
    record = b"\x01" + profile.general
    record += struct.pack(
        ">HBBBBHB",
        0xF000,  # min_spatial_segmentation unknown
        0xFC,  # parallelism unknown
        0xFC | profile.chroma_format & 3,
        0xF8 | profile.bit_depth_luma - 8,
        0xF8 | profile.bit_depth_chroma - 8,
        0,  # average frame rate unknown
        (profile.temporal_layers & 7) << 3 | int(profile.temporal_id_nested) << 2 | 3,
    )
    arrays = [
        struct.pack(">BH", 0x80 | kind, len(nals)) + _sized(nals)
        for kind, nals in zip((_NAL_VPS, _NAL_SPS, _NAL_PPS), sets, strict=True)
        if nals
    ]
    record += bytes((len(arrays),)) + b"".join(arrays)
    return _visual_entry(b"hvc1", width, height, box(b"hvcC", record))


def _audio_entry(kind: bytes, sample_rate: int, channels: int, config: bytes) -> bytes:
    # A rate that does not fit 16.16 is written as 0: the decoder configuration has the true one.
    rate = sample_rate << 16 if sample_rate < 1 << 16 else 0
    return box(kind, struct.pack(">6xH8xHHHHI", 1, channels, 16, 0, 0, rate), config)


def _descriptor(tag: int, payload: bytes) -> bytes:
    """An MPEG-4 descriptor (ISO/IEC 14496-1 §8.3.3): tag, length in 7-bit groups, payload."""
    groups = [len(payload) & 0x7F]
    rest = len(payload) >> 7
    while rest:
        groups.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((tag, *reversed(groups))) + payload


def mp4a_entry(asc: bytes, sample_rate: int, channels: int) -> bytes:
    """AAC; `asc` is the AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1) as the camera gave it."""
    if not asc:
        raise ValueError("AAC needs its AudioSpecificConfig")
    # 0x40 = MPEG-4 audio, 0x15 = audio stream, upstream 0, reserved 1
    return _audio_entry(b"mp4a", sample_rate, channels, _esds(0x40, 0x15, _descriptor(5, asc)))


def _esds(object_type: int, stream_type: int, specific: bytes) -> bytes:
    """Buffer and bit rates are unknown (0)."""
    config = _descriptor(4, struct.pack(">BB3xII", object_type, stream_type, 0, 0) + specific)
    stream = _descriptor(3, struct.pack(">HB", 0, 0) + config + _descriptor(6, b"\x02"))
    return full_box(b"esds", 0, 0, stream)


def jpeg_entry(width: int, height: int) -> bytes:
    """Each sample a whole JPEG image (object type 0x6C of the MP4 registration authority, 0x11 = visual stream)."""
    return _visual_entry(b"mp4v", width, height, _esds(0x6C, 0x11, b""))


def opus_entry(channels: int, pre_skip: int = 0, input_rate: int = 48_000) -> bytes:
    """Opus: the decoder makes `channels` (1 or 2) whatever a packet holds. `pre_skip`: 48 kHz samples to drop first."""
    if channels not in (1, 2):
        raise ValueError("Opus without a channel map has one or two channels")
    specific = struct.pack(">BBHIhB", 0, channels, pre_skip, input_rate, 0, 0)
    return _audio_entry(b"Opus", 48_000, channels, box(b"dOps", specific))


def pcm16_entry(sample_rate: int, channels: int) -> bytes:
    """16-bit big-endian samples under the QuickTime name that players know; `ipcm` is read by newer ones only."""
    return _audio_entry(b"twos", sample_rate, channels, b"")


def g726_entry(bits: int, aal2: bool) -> bytes:
    """G.726 at 8 kHz, `bits` (2 to 5) a sample; `aal2`: first sample in the highest bits. No standard has a name for it
    in MP4: the entry is ours, only the database reads it, and `movable` keeps it out of files."""
    if not 2 <= bits <= 5:
        raise ValueError(f"G.726 of {bits} bits a sample")
    return _audio_entry(b"g726", 8_000, 1, box(b"pack", bytes((bits, aal2))))


def metadata_entry(media_type: str, encoding: str = "") -> bytes:
    """Timed metadata: documents of `media_type`; `encoding` "" when they are not packed."""
    words = b"".join(text.encode("ascii") + b"\x00" for text in (encoding, media_type))
    return box(b"mett", struct.pack(">6xH", 1), words)


def movable(entry: bytes) -> bool:
    """True when other programs can read samples of this entry out of an MP4."""
    return entry[4:8] != b"g726"


def g711_entry(law: str, sample_rate: int = 8000, channels: int = 1) -> bytes:
    """G.711; `law` is "ulaw" or "alaw" (the QuickTime names that players know)."""
    if law not in ("ulaw", "alaw"):
        raise ValueError(f"unknown G.711 law {law!r}: ulaw or alaw")
    return _audio_entry(law.encode(), sample_rate, channels, b"")
