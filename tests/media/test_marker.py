"""Markers: what is written is found again, in any place, and nothing else is taken for one."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorderd.media.access_unit import Codec
from recorderd.media.marker import MARKER_UUID, Marker, encode_marker, find_marker, vcl_crc
from recorderd.media.nal import join_units

pytestmark = pytest.mark.fast

VCL = {Codec.H264: b"\x65", Codec.H265: b"\x26\x01"}
SPS = {Codec.H264: b"\x67\x42", Codec.H265: b"\x42\x01"}


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
@given(
    camera=st.integers(0, 99_999),
    number=st.integers(0, 10**12),
    utc_us=st.integers(0, 10**17),
    crc=st.integers(0, 2**32 - 1),
    key=st.booleans(),
)
def test_round_trip(codec: Codec, camera: int, number: int, utc_us: int, crc: int, key: bool) -> None:
    marker = Marker(camera, number, utc_us, crc, key)
    nal = encode_marker(marker, codec)
    assert b"\x00\x00" not in nal, "would need emulation prevention"
    assert nal[-1] == 0x80, "the RBSP ends with its stop bit"
    unit = join_units([SPS[codec] + b"abc", nal, VCL[codec] + b"picture"])
    assert find_marker(unit, codec) == marker


def test_text_is_the_documented_one() -> None:
    nal = encode_marker(Marker(42, 123, 1_700_000_000_000_000, 0xBEEF, True), Codec.H264)
    text = b"RDS1 cam=00042 n=0000000123 us=1700000000000000 crc=0000beef key=1"
    assert nal == b"\x06\x05" + bytes([16 + len(text)]) + MARKER_UUID + text + b"\x80"


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
def test_crc_is_over_picture_data_only(codec: Codec) -> None:
    first, second = VCL[codec] + b"one", VCL[codec] + b"two"
    marker = encode_marker(Marker(1, 2, 3, 4, False), codec)
    assert vcl_crc(join_units([SPS[codec], marker, first, second]), codec) == zlib.crc32(first + second)
    assert vcl_crc(join_units([SPS[codec], marker]), codec) == 0


@given(data=st.binary(max_size=400), cut=st.integers(0, 200))
def test_any_bytes_give_no_marker_and_no_error(data: bytes, cut: int) -> None:
    for codec in Codec:
        assert find_marker(data, codec) is None
        vcl_crc(data, codec)
    nal = encode_marker(Marker(1, 2, 3, 4, False), Codec.H264)
    find_marker(join_units([nal])[:cut], Codec.H264)


def test_the_other_codecs_sei_is_not_found() -> None:
    unit = join_units([encode_marker(Marker(1, 2, 3, 4, False), Codec.H265)])
    assert find_marker(unit, Codec.H264) is None
    assert find_marker(unit, Codec.AAC) is None
