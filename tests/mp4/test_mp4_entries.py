"""Boxes and sample entries, against bytes worked out by hand from the standards."""

from __future__ import annotations

import contextlib
import struct

import pytest

from mediadb.mp4.boxes import Budget, Fields, Limits, Mp4Error, box, children, full_box
from mediadb.mp4.entries import AvcChroma, HevcProfile, avc1_entry, g711_entry, hvc1_entry, mp4a_entry
from mediadb.mp4.entry_reader import parse_entry

pytestmark = pytest.mark.fast

SPS_MAIN = bytes.fromhex("674d0028ab")
SPS_HIGH = bytes.fromhex("67640028ab")
PPS = bytes.fromhex("68ee3c80")


def test_avc_entry_bytes() -> None:
    entry = avc1_entry(1920, 1080, [SPS_MAIN], [PPS])
    avcc = bytes.fromhex("00000018 61766343 01 4d0028 ff e1 0005 674d0028ab 01 0004 68ee3c80".replace(" ", ""))
    avcc = struct.pack(">I", len(avcc)) + avcc[4:]
    assert entry[4:8] == b"avc1"
    assert len(entry) == 86 + len(avcc)
    assert entry[86:] == avcc
    assert entry[32:36] == struct.pack(">HH", 1920, 1080)
    assert entry[82:86] == bytes.fromhex("0018ffff")


def test_avc_entry_round_trip() -> None:
    info = parse_entry(avc1_entry(640, 480, [SPS_HIGH, SPS_MAIN], [PPS, PPS + b"1"], AvcChroma(1, 10, 8)))
    assert (info.codec, info.fourcc, info.width, info.height) == ("h264", "avc1", 640, 480)
    assert info.parameter_sets == (SPS_HIGH, SPS_MAIN, PPS, PPS + b"1")
    assert info.nal_length_bytes == 4


def test_high_profile_fields_only_where_they_belong() -> None:
    assert avc1_entry(64, 64, [SPS_HIGH], [PPS], AvcChroma(1, 10, 8)).endswith(bytes.fromhex("fdfaf800"))
    assert avc1_entry(64, 64, [SPS_MAIN], [PPS], AvcChroma()) == avc1_entry(64, 64, [SPS_MAIN], [PPS])
    assert avc1_entry(64, 64, [SPS_HIGH], [PPS]).endswith(PPS)


def test_hevc_entry() -> None:
    general = bytes(range(1, 13))
    entry = hvc1_entry(3840, 2160, ([b"vps"], [b"sps1", b"sps2"], [b"pps"]), HevcProfile(general, 1, 10, 9, 3, True))
    at = entry.index(b"hvcC") + 4
    assert entry[at : at + 13] == b"\x01" + general
    assert entry[at + 13 : at + 23] == bytes.fromhex("f000fcfdfaf900001f03")
    assert entry[at + 23 : at + 31] == bytes.fromhex("a000010003") + b"vps"
    info = parse_entry(entry)
    assert (info.codec, info.width, info.height, info.nal_length_bytes) == ("h265", 3840, 2160, 4)
    assert info.parameter_sets == (b"vps", b"sps1", b"sps2", b"pps")


def test_aac_entry() -> None:
    info = parse_entry(mp4a_entry(b"\x14\x08", 16_000, 1))
    assert (info.codec, info.sample_rate, info.channels, info.asc) == ("aac", 16_000, 1, b"\x14\x08")
    long = bytes(200)
    assert parse_entry(mp4a_entry(long, 96_000, 2)).asc == long  # length in two groups, rate beyond 16.16


@pytest.mark.parametrize(("law", "codec"), [("ulaw", "pcmu"), ("alaw", "pcma")])
def test_g711_entry(law: str, codec: str) -> None:
    info = parse_entry(g711_entry(law))
    assert (info.codec, info.sample_rate, info.channels, info.is_video) == (codec, 8000, 1, False)


def test_entries_refuse_what_they_cannot_hold() -> None:
    for call in (
        lambda: avc1_entry(64, 64, [], [PPS]),
        lambda: avc1_entry(0, 64, [SPS_MAIN], [PPS]),
        lambda: avc1_entry(70_000, 64, [SPS_MAIN], [PPS]),
        lambda: avc1_entry(64, 64, [SPS_MAIN + bytes(70_000)], [PPS]),
        lambda: hvc1_entry(64, 64, ([], [b"s"], []), HevcProfile(b"short")),
        lambda: hvc1_entry(64, 64, ([b"v"], [], [b"p"]), HevcProfile(bytes(12))),
        lambda: mp4a_entry(b"", 8000, 1),
        lambda: g711_entry("g726"),
    ):
        with pytest.raises(ValueError):
            call()


def test_unknown_entry_is_named_not_refused() -> None:
    info = parse_entry(box(b"mjpg", bytes(78)))
    assert (info.fourcc, info.codec) == ("mjpg", "")


def test_every_truncation_of_an_entry_is_a_typed_error() -> None:
    for entry in (
        avc1_entry(64, 64, [SPS_MAIN], [PPS]),
        hvc1_entry(64, 64, ([b"v"], [b"s"], [b"p"]), HevcProfile(bytes(12))),
        mp4a_entry(b"\x14\x08", 8000, 1),
    ):
        for size in range(len(entry)):
            with pytest.raises(Mp4Error):
                parse_entry(entry[:size])
            if size >= 16:  # with the sizes made to fit, it may be an entry again, but never another exception
                with contextlib.suppress(Mp4Error):
                    parse_entry(struct.pack(">I", size) + entry[4:size])


def test_box_errors_name_place_and_offset() -> None:
    inner = box(b"trak", struct.pack(">I4s", 100, b"tkhd"))
    ((_, trak),) = children(Fields(memoryview(inner), "moov", 40), Budget(Limits()), 1)
    with pytest.raises(Mp4Error) as caught:
        list(children(trak, Budget(Limits()), 2))
    assert (caught.value.place, caught.value.offset) == ("moov/trak", 48)
    assert "after its parent" in caught.value.cause


def test_box_count_and_depth_are_limited() -> None:
    many = memoryview(box(b"free") * 50)
    with pytest.raises(Mp4Error, match="more than 49 boxes"):
        list(children(Fields(many, "", 0), Budget(Limits(max_boxes=49)), 1))
    with pytest.raises(Mp4Error, match="nested"):
        list(children(Fields(many, "", 0), Budget(Limits()), 13))


def test_full_box() -> None:
    assert full_box(b"abcd", 1, 0x020000, b"x") == bytes.fromhex("0000000d6162636401020000") + b"x"
