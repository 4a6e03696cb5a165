"""H.264: NAL unit types, sequence parameter sets, how a picture may be entered (ITU-T H.264, ISO 14496-10).

Law: pure; reads headers, never decodes a picture. Called by the H.264 depacketiser, MP4 writers and tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.media.bits import BitReader, BitstreamError
from recorderd.media.nal import unescape

SLICE, IDR, SEI, SPS, PPS, AUD, FILLER = 1, 5, 6, 7, 8, 9, 12
RTP_HZ = 90_000

_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_INTRA_CONSTRAINED = frozenset((44, 86, 100, 110, 122, 244))
_EXTENDED_SAR = 255
_MAX_DIMENSION = 16384
_CHROMA_STEP = {0: (1, 1), 1: (2, 2), 2: (2, 1), 3: (1, 1)}


@dataclass(frozen=True, slots=True)
class Sps:
    """What recording needs of a sequence parameter set. `frame_ticks`: 90 kHz ticks per frame or 0;
    `reorder`: pictures that may precede one in decode order and follow it in output order, None: not said."""

    sps_id: int
    profile: int
    constraints: int
    level: int
    width: int
    height: int
    frame_ticks: int = 0
    reorder: int | None = None


def parse_sps(nal: bytes) -> Sps:
    """Read an SPS NAL unit (7.3.2.1.1). Raises BitstreamError."""
    if len(nal) < 4 or nal[0] & 0x1F != SPS:
        raise BitstreamError("no H.264 sequence parameter set")
    bits = BitReader(unescape(nal[1:]))
    profile, constraints, level = bits.u(8), bits.u(8), bits.u(8)
    sps_id = bits.ue()
    chroma = _skip_high_profile(bits) if profile in _HIGH_PROFILES else 1
    bits.ue()  # log2_max_frame_num_minus4
    order_type = _skip_order_count(bits)
    bits.ue()  # max_num_ref_frames
    bits.flag()  # gaps_in_frame_num_value_allowed_flag
    width_mbs, height_units = bits.ue() + 1, bits.ue() + 1
    frame_mbs_only = bits.u(1)
    if not frame_mbs_only:
        bits.flag()  # mb_adaptive_frame_field_flag
    bits.flag()  # direct_8x8_inference_flag
    width, height = width_mbs * 16, height_units * 16 * (2 - frame_mbs_only)
    if bits.flag():
        step_x, step_y = _CHROMA_STEP[chroma]
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        width -= (left + right) * step_x
        height -= (top + bottom) * step_y * (2 - frame_mbs_only)
    if not (0 < width <= _MAX_DIMENSION and 0 < height <= _MAX_DIMENSION) or sps_id > 31:
        raise BitstreamError("an H.264 sequence parameter set with impossible dimensions")
    ticks, reorder = _read_vui(bits)
    if reorder is None:
        reorder = _implied_reorder(profile, constraints, order_type)
    return Sps(sps_id, profile, constraints, level, width, height, ticks, reorder)


def parameter_set_id(nal: bytes) -> int:
    """seq_parameter_set_id or pic_parameter_set_id. Raises BitstreamError."""
    skip = 4 if nal and nal[0] & 0x1F == SPS else 1
    return BitReader(unescape(nal[skip : skip + 12])).ue()


def codec_config(parameter_sets: tuple[bytes, ...]) -> CodecConfig:
    """The config for these SPS and PPS; dimensions stay 0 when no SPS can be read."""
    sps = None
    for nal in parameter_sets:
        try:
            sps = sps or parse_sps(nal)
        except BitstreamError:
            continue  # a PPS, or junk: the stream itself is kept whatever its headers say
    if sps is None:
        return CodecConfig(Codec.H264, MediaKind.VIDEO, RTP_HZ, parameter_sets=parameter_sets)
    return CodecConfig(
        Codec.H264,
        MediaKind.VIDEO,
        RTP_HZ,
        width=sps.width,
        height=sps.height,
        parameter_sets=parameter_sets,
        reorder=sps.reorder or 0,
        frame_ticks=sps.frame_ticks,
        codec_string=f"avc1.{sps.profile:02x}{sps.constraints:02x}{sps.level:02x}",
    )


def _skip_high_profile(bits: BitReader) -> int:
    chroma = bits.ue()
    if chroma > 3:
        raise BitstreamError("an impossible chroma format")
    separate = chroma == 3 and bits.flag()
    bits.ue()  # bit_depth_luma_minus8
    bits.ue()  # bit_depth_chroma_minus8
    bits.flag()  # qpprime_y_zero_transform_bypass_flag
    if bits.flag():
        for index in range(12 if chroma == 3 else 8):
            if bits.flag():
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return 0 if separate else chroma


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _skip_order_count(bits: BitReader) -> int:
    order_type = bits.ue()
    if order_type == 0:
        bits.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif order_type == 1:
        bits.flag()
        bits.se()
        bits.se()
        count = bits.ue()
        if count > 255:
            raise BitstreamError("an impossible picture order cycle")
        for _ in range(count):
            bits.se()
    return order_type


def _implied_reorder(profile: int, constraints: int, order_type: int) -> int | None:
    """E.2.1 and 7.4.2.1.1: what holds when the SPS does not say."""
    if order_type == 2 or profile == 66 or (profile in _INTRA_CONSTRAINED and constraints & 0x10):
        return 0
    return None


def _read_vui(bits: BitReader) -> tuple[int, int | None]:
    """(90 kHz ticks per frame, reorder depth) of Annex E; a VUI that ends early is as good as none."""
    ticks, reorder = 0, None
    try:
        if not bits.flag():
            return ticks, reorder
        skip_vui_picture(bits)
        if bits.flag():
            unit, scale = bits.u(32), bits.u(32)
            bits.flag()  # fixed_frame_rate_flag
            if scale and 0 < RTP_HZ * 2 * unit <= RTP_HZ * 60 * scale:
                ticks = round(RTP_HZ * 2 * unit / scale)
        nal_hrd = bits.flag()
        if nal_hrd:
            _skip_hrd(bits)
        vcl_hrd = bits.flag()
        if vcl_hrd:
            _skip_hrd(bits)
        if nal_hrd or vcl_hrd:
            bits.flag()  # low_delay_hrd_flag
        bits.flag()  # pic_struct_present_flag
        if bits.flag():
            bits.flag()
            for _ in range(4):
                bits.ue()
            reorder = min(bits.ue(), 16)
    except BitstreamError:
        pass  # cameras cut their VUI short; what was read before holds
    return ticks, reorder


def skip_vui_picture(bits: BitReader) -> None:
    """Aspect ratio, overscan, video signal type, chroma location: the same in H.264 and H.265."""
    if bits.flag() and bits.u(8) == _EXTENDED_SAR:
        bits.skip(32)
    if bits.flag():
        bits.flag()
    if bits.flag():
        bits.skip(4)
        if bits.flag():
            bits.skip(24)
    if bits.flag():
        bits.ue()
        bits.ue()


def _skip_hrd(bits: BitReader) -> None:
    count = bits.ue() + 1
    if count > 32:
        raise BitstreamError("an impossible buffering schedule")
    bits.skip(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.flag()
    bits.skip(20)
