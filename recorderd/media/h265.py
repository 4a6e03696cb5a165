"""H.265: NAL unit types, sequence parameter sets, how a picture may be entered (ITU-T H.265, ISO 23008-2).

Law: pure; reads headers, never decodes a picture. Called by the H.265 depacketiser, MP4 writers and tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.media.bits import BitReader, BitstreamError
from recorderd.media.h264 import skip_vui_picture
from recorderd.media.nal import unescape

BLA_FIRST, IDR_W_RADL, IDR_N_LP, CRA = 16, 19, 20, 21
FIRST_NON_VCL, VPS, SPS, PPS, AUD, FILLER, PREFIX_SEI, SUFFIX_SEI = 32, 32, 33, 34, 35, 38, 39, 40
RTP_HZ = 90_000

_MAX_DIMENSION = 16384
_CHROMA_STEP = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}


@dataclass(frozen=True, slots=True)
class Sps:
    """What recording needs of a sequence parameter set. `profile_tier_level` are the 12 general bytes of
    7.3.3; `chroma_format` is chroma_format_idc (1 = 4:2:0); `frame_ticks` 90 kHz ticks per picture or 0."""

    sps_id: int
    profile_tier_level: bytes
    width: int
    height: int
    reorder: int
    chroma_format: int = 1
    bit_depth_luma: int = 8
    bit_depth_chroma: int = 8
    temporal_layers: int = 1
    temporal_id_nested: bool = True
    frame_ticks: int = 0


def nal_type(first_byte: int) -> int:
    return first_byte >> 1 & 0x3F


def parse_sps(nal: bytes) -> Sps:
    """Read an SPS NAL unit (7.3.2.2.1). Raises BitstreamError."""
    if len(nal) < 15 or nal_type(nal[0]) != SPS:
        raise BitstreamError("no H.265 sequence parameter set")
    payload = unescape(nal[2:])
    bits = BitReader(payload)
    bits.skip(4)  # sps_video_parameter_set_id
    layers = bits.u(3)
    nested = bool(bits.flag())
    general = payload[1:13]
    bits.skip(96)
    _skip_sub_layer_profiles(bits, layers)
    sps_id, chroma_format = bits.ue(), bits.ue()
    if chroma_format > 3 or sps_id > 15:
        raise BitstreamError("an impossible chroma format or parameter set id")
    chroma = 0 if chroma_format == 3 and bits.flag() else chroma_format
    width, height = bits.ue(), bits.ue()
    if bits.flag():
        step_x, step_y = _CHROMA_STEP[chroma]
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        width, height = width - (left + right) * step_x, height - (top + bottom) * step_y
    if not (0 < width <= _MAX_DIMENSION and 0 < height <= _MAX_DIMENSION):
        raise BitstreamError("an H.265 sequence parameter set with impossible dimensions")
    luma, colour = bits.ue() + 8, bits.ue() + 8
    if luma > 16 or colour > 16:
        raise BitstreamError("an impossible bit depth")
    order_bits = bits.ue() + 4
    reorder = 0
    for _ in range(layers + 1 if bits.flag() else 1):
        bits.ue()  # sps_max_dec_pic_buffering_minus1
        reorder = min(bits.ue(), 16)
        bits.ue()  # sps_max_latency_increase_plus1
    depth = (chroma_format, luma, colour)
    return Sps(sps_id, general, width, height, reorder, *depth, layers + 1, nested, _read_frame_ticks(bits, order_bits))


def parameter_set_id(nal: bytes) -> int:
    """Id of a VPS, SPS or PPS. Raises BitstreamError."""
    if len(nal) < 3:
        raise BitstreamError("a parameter set without content")
    kind = nal_type(nal[0])
    if kind == VPS:
        return nal[2] >> 4
    if kind == SPS:
        return parse_sps(nal).sps_id
    return BitReader(unescape(nal[2:14])).ue()


def codec_config(parameter_sets: tuple[bytes, ...]) -> CodecConfig:
    """The config for these VPS, SPS and PPS; dimensions stay 0 when no SPS can be read."""
    sps = None
    for nal in parameter_sets:
        try:
            sps = sps or parse_sps(nal)
        except BitstreamError:
            continue  # a VPS or PPS, or junk: the stream itself is kept whatever its headers say
    if sps is None:
        return CodecConfig(Codec.H265, MediaKind.VIDEO, RTP_HZ, parameter_sets=parameter_sets)
    return CodecConfig(
        Codec.H265,
        MediaKind.VIDEO,
        RTP_HZ,
        width=sps.width,
        height=sps.height,
        parameter_sets=parameter_sets,
        reorder=sps.reorder,
        frame_ticks=sps.frame_ticks,
        codec_string=_codec_string(sps.profile_tier_level),
    )


def _codec_string(general: bytes) -> str:
    """ISO 14496-15 Annex E.3: hvc1.PROFILE.COMPATIBILITY.TIER-LEVEL.CONSTRAINTS."""
    space, tier, profile = general[0] >> 6, general[0] >> 5 & 1, general[0] & 0x1F
    compatibility = int(f"{int.from_bytes(general[1:5], 'big'):032b}"[::-1], 2)
    constraints = general[5:11].rstrip(b"\x00")
    parts = [
        f"{('', 'A', 'B', 'C')[space]}{profile}",
        f"{compatibility:X}",
        f"{'H' if tier else 'L'}{general[11]}",
        *(f"{byte:X}" for byte in constraints),
    ]
    return "hvc1." + ".".join(parts)


def _skip_sub_layer_profiles(bits: BitReader, layers: int) -> None:
    present = [(bits.flag(), bits.flag()) for _ in range(layers)]
    if layers:
        bits.skip(2 * (8 - layers))
    for profile, level in present:
        bits.skip(88 * profile + 8 * level)


def _read_frame_ticks(bits: BitReader, order_bits: int) -> int:
    """VUI timing (E.2.1); an SPS that ends early has none."""
    try:
        for _ in range(6):
            bits.ue()  # block and transform sizes
        if bits.flag() and bits.flag():
            _skip_scaling_lists(bits)
        bits.skip(2)  # amp_enabled_flag, sample_adaptive_offset_enabled_flag
        if bits.flag():
            bits.skip(8)
            bits.ue()
            bits.ue()
            bits.flag()
        _skip_reference_sets(bits)
        if bits.flag():
            for _ in range(min(bits.ue(), 33)):
                bits.skip(order_bits + 1)
        bits.skip(2)  # sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
        if not bits.flag():
            return 0
        skip_vui_picture(bits)
        bits.skip(3)  # neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag
        if bits.flag():
            for _ in range(4):
                bits.ue()  # default display window
        if not bits.flag():
            return 0
        unit, scale = bits.u(32), bits.u(32)
    except BitstreamError:
        return 0
    return round(RTP_HZ * unit / scale) if scale and 0 < unit <= 60 * scale else 0


def _skip_scaling_lists(bits: BitReader) -> None:
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            if not bits.flag():
                bits.ue()
                continue
            if size > 1:
                bits.se()
            for _ in range(min(64, 1 << (4 + (size << 1)))):
                bits.se()


def _skip_reference_sets(bits: BitReader) -> None:
    """st_ref_pic_set (7.3.7): only the sizes matter, to find what follows."""
    count = bits.ue()
    if count > 64:
        raise BitstreamError("too many reference picture sets")
    sizes: list[int] = []
    for index in range(count):
        if index and bits.flag():
            bits.flag()
            bits.ue()
            kept = 0
            for _ in range(sizes[index - 1] + 1):
                used = bits.flag()
                kept += used or bits.flag()
            sizes.append(kept)
            continue
        negative, positive = bits.ue(), bits.ue()
        if negative > 16 or positive > 16:
            raise BitstreamError("too many reference pictures")
        for _ in range(negative + positive):
            bits.ue()
            bits.flag()
        sizes.append(negative + positive)
