"""Parameter sets and NAL walking: real encoders' headers, and any bytes at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recorderd.media import aac, h264, h265
from recorderd.media.bits import BitstreamError
from recorderd.media.nal import has_recovery_point, join_units, split_annex_b, split_units, unescape

pytestmark = pytest.mark.fast

H264_SETS = (bytes.fromhex("6764000cacd941419f9f011000000300100000030320f1429960"), bytes.fromhex("68ef8fcb"))
H265_SETS = (
    bytes.fromhex("40010c01ffff01600000030090000003000003003c959409"),
    bytes.fromhex(
        "42010101600000030090000003000003003ca00a080c1f3e5959529 30bc05a020000030002000003003210".replace(" ", "")
    ),
    bytes.fromhex("4401c073c189"),
)


def test_h264_high_with_b_frames_and_vui() -> None:
    config = h264.codec_config(H264_SETS)
    assert (config.width, config.height, config.reorder, config.frame_ticks) == (320, 180, 2, 3600)
    assert config.codec_string == "avc1.64000c"
    assert [h264.parameter_set_id(nal) for nal in H264_SETS] == [0, 0]


def test_h265_main() -> None:
    config = h265.codec_config(H265_SETS)
    assert (config.width, config.height, config.reorder, config.frame_ticks) == (320, 180, 2, 3600)
    assert config.codec_string == "hvc1.1.6.L60.90"
    assert [h265.parameter_set_id(nal) for nal in H265_SETS] == [0, 0, 0]


def test_h264_baseline_never_reorders() -> None:
    sps = h264.parse_sps(bytes.fromhex("6742c01edb0280bfe5"))
    assert (sps.width, sps.profile, sps.reorder) == (640, 66, 0)


def test_unreadable_sets_still_give_a_config() -> None:
    assert h264.codec_config((b"\x67", b"\x68\xff")).width == 0
    assert h265.codec_config((b"\x42\x01",)).width == 0


AAC = {"1190": (48000, 2), "1588": (8000, 1), "118856e500": (48000, 1), "1210": (44100, 2)}


@pytest.mark.parametrize("text", AAC)
def test_aac(text: str) -> None:
    config = aac.codec_config(bytes.fromhex(text), 90_000)
    assert (config.sample_rate, config.channels) == AAC[text]
    assert config.codec_string == "mp4a.40.2"


@pytest.mark.parametrize(("rate", "channels"), [(48000, 1), (8000, 2), (12345, 1)])
def test_made_aac_config_reads_back(rate: int, channels: int) -> None:
    config = aac.codec_config(aac.make_config(rate, channels), rate)
    assert (config.sample_rate, config.channels, config.frame_ticks) == (rate, channels, 1024)


def test_nal_walking() -> None:
    units = [b"\x67abc", b"\x68d", b"\x65" + b"e" * 300]
    assert list(split_units(join_units(units))) == units
    assert split_annex_b(b"\x00\x00\x00\x01" + units[0] + b"\x00\x00\x01" + units[1] + b"\x00\x00") == units[:2]
    assert split_annex_b(units[2]) == [units[2]]
    assert unescape(b"\x00\x00\x03\x00\x00\x03\x01") == b"\x00\x00\x00\x00\x01"


def test_recovery_point() -> None:
    assert has_recovery_point(b"\x06\x05\x02ab\x06\x01\x84\x80", 1)
    assert not has_recovery_point(b"\x06\x05\x02\x06\x01\x80", 1)
    assert has_recovery_point(b"\x4e\x01\x06\x01\x84\x80", 2)


_PARSERS: list[Callable[[bytes], object]] = [
    lambda data: h264.parse_sps(b"\x67" + data),
    lambda data: h265.parse_sps(b"\x42\x01" + data),
    lambda data: h264.parameter_set_id(b"\x68" + data),
    lambda data: h265.parameter_set_id(b"\x44\x01" + data),
    lambda data: aac.codec_config(data, 8000),
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_PARSERS), st.binary(max_size=120))
@example(_PARSERS[0], H264_SETS[0][1:-4])
@example(_PARSERS[1], b"\xff" * 300)
def test_any_bytes_give_a_header_or_bitstream_error(parser: Callable[[bytes], object], data: bytes) -> None:
    try:
        parser(data)
    except BitstreamError:
        pass
    list(split_units(data))
    split_annex_b(data)
    has_recovery_point(data, 1)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_headers_never_break_anything(data: st.DataObject) -> None:
    module, sets = data.draw(st.sampled_from([(h264, H264_SETS), (h265, H265_SETS)]))
    broken = []
    for nal in sets:
        at = data.draw(st.integers(0, len(nal) - 1))
        broken.append(nal[:at] + bytes((nal[at] ^ data.draw(st.integers(1, 255)),)) + nal[at + 1 :])
    config = module.codec_config(tuple(broken))
    assert 0 <= config.width <= 16384
    assert 0 <= config.reorder <= 16
