"""JPEG over RTP: pixels of what came equal pixels of what was sent; tables, restarts, ONVIF's extension, loss, hostile
bytes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_sender import Parsed, Shape, extended, image, packets, parse, pixels
from rtp_bench import rtp
from rtp_capture import Received, pictures

from recorderd.media import jpeg
from recorderd.media.access_unit import Codec, UnitType
from recorderd.media.bits import BitstreamError
from recorderd.wire.depay import MAX_UNIT_BYTES
from recorderd.wire.depay_jpeg import JpegDepacketiser

pytestmark = pytest.mark.fast

JPEG = "m=video 0 RTP/AVP 26\n"
BLOCKS = (320 // 8, 184 // 8)
# ITU-T T.81 table K.1, rows as printed
K1 = [
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
]  # fmt: skip


def same(one: bytes, other: bytes) -> bool:
    return bool(np.array_equal(pixels(one), pixels(other)))


def test_pictures_of_ffmpeg_have_the_pixels_of_the_source() -> None:
    caught = pictures(640, 360, 4)
    got = Received(JPEG).feed(caught.packets)
    assert len(got.units) == 4
    for unit, source in zip(got.units, caught.frames, strict=True):
        assert same(unit.data, source)
        assert unit.data[:2] == jpeg.SOI
        assert unit.data[-2:] == jpeg.EOI
        assert (unit.type, unit.damaged, unit.is_key) == (UnitType.INTRA_ONLY, False, True)
    config = got.units[0].config
    assert (config.codec, config.width, config.height) == (Codec.JPEG, 640, 360)


def test_the_description_tells_a_size_that_is_no_multiple_of_8() -> None:
    source = image(320, 180)
    got = Received(JPEG + "a=framesize:26 320-180\n").feed(packets(parse(source), Shape(BLOCKS), 1, 0))
    assert same(got.data[0], source)
    assert (got.units[0].config.width, got.units[0].config.height) == (320, 180)
    wrong = Received(JPEG + "a=framesize:26 1920-1080\n").feed(packets(parse(source), Shape(BLOCKS), 1, 0))
    assert (wrong.units[0].config.width, wrong.units[0].config.height) == (320, 184)


def test_tables_by_q_are_those_of_the_standard() -> None:
    order = sorted(((row, col) for row in range(8) for col in range(8)),
                   key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))  # fmt: skip
    assert list(jpeg.standard_tables(50)[0]) == [K1[row][col] for row, col in order]
    assert set(jpeg.standard_tables(99)[0]) == {1, 2}
    assert max(jpeg.standard_tables(1)[1]) == 255
    assert [len(table) for table in jpeg.standard_tables(75)] == [64, 64]


def test_pictures_with_the_standard_tables_need_no_tables_in_band() -> None:
    parsed = parse(image(320, 184))
    parsed.tables[:] = jpeg.standard_tables(60)
    got = Received(JPEG).feed(packets(parsed, Shape(BLOCKS, q=60), 1, 0))
    again = Received(JPEG).feed(packets(parsed, Shape(BLOCKS), 1, 0))
    assert same(got.data[0], again.data[0])


def test_tables_below_255_are_remembered_by_their_q() -> None:
    one, other = parse(image(320, 184, seed=1)), parse(image(320, 184, seed=3))
    assert one.tables != other.tables
    sent = packets(one, Shape(BLOCKS, q=200), 1, 0)
    sent += packets(other, Shape(BLOCKS, q=201), 1000, 3600)
    sent += packets(one, Shape(BLOCKS, q=200, with_tables=False), 2000, 7200)
    sent += packets(one, Shape(BLOCKS, q=202, with_tables=False), 3000, 10800)  # never told
    sent += packets(one, Shape(BLOCKS, q=255, with_tables=False), 4000, 14400)  # must be told each time
    got = Received(JPEG).feed(_numbered(sent))
    assert len(got.units) == 3
    assert got.data[0] == got.data[2] != got.data[1]
    assert got.track.depay.malformed == 2


def test_restart_markers_come_back_with_their_interval() -> None:
    source = image(320, 192, options={"slices": "4"})
    parsed = parse(source)
    assert parsed.interval
    got = Received(JPEG).feed(packets(parsed, Shape((40, 24)), 1, 0))
    assert same(got.data[0], source)
    assert [one.raw for one in jpeg.segments(got.data[0]) if one.marker == jpeg.DRI] == [
        jpeg.restart_interval(parsed.interval)
    ]


@pytest.mark.parametrize("inside_replay", [False, True])
def test_a_picture_beyond_2040_pixels_through_the_extension(inside_replay: bool) -> None:
    source = image(2064, 32)
    parsed = parse(source)
    content = b"".join(one.raw for one in parsed.headers[:-1])
    content += b"\xff" * (-(len(content) + len(parsed.headers[-1].raw)) % 4) + parsed.headers[-1].raw
    plain = packets(parsed, Shape((0, 0), piece=4000), 1, 0)
    identity = 0xFFD8
    if inside_replay:
        nested = b"\xff\xd8" + (len(content) // 4).to_bytes(2, "big") + content
        identity, content = 0xABAC, bytes(12) + nested
    sent = [extended(plain[0], identity, content), *plain[1:]]
    got = Received(JPEG).feed(sent)
    assert same(got.data[0], source)
    assert (got.units[0].config.width, got.units[0].config.height) == (2064, 32)
    alone = Received(JPEG).feed(plain)  # without it nothing says how large the picture is
    assert not alone.units
    assert alone.track.depay.malformed == 1


def test_headers_in_a_packet_of_their_own_and_spread_over_two() -> None:
    """The first packet brings no scan; RFC 2435's own tables fill what the extension leaves out."""
    source = image(320, 184)
    parsed = parse(source)
    frame = next(one for one in parsed.headers if one.marker == jpeg.SOF0)
    tables = b"".join(one.raw for one in parsed.headers if one.marker == jpeg.DQT)
    tables += b"\xff" * (-len(tables) % 4)
    sof = frame.raw + b"\xff" * (-len(frame.raw) % 4)
    first = extended(rtp(b"", 1, 0, pt=26), 0xFFD8, tables)
    second = extended(rtp(b"", 2, 0, pt=26), 0xFFFF, sof)
    got = Received(JPEG).feed([first, second, *packets(parsed, Shape((0, 0)), 3, 0)])
    assert same(got.data[0], source)


def test_every_loss_costs_one_picture_exactly() -> None:
    sources = [image(320, 184, seed) for seed in (1, 2, 3)]
    sent = [packets(parse(one), Shape(BLOCKS, piece=9000), 0, n * 3600) for n, one in enumerate(sources)]
    flat = _numbered([packet for group in sent for packet in group])
    owner = [n for n, group in enumerate(sent) for _ in group]
    for lost in range(1, len(flat) - 1):
        got = Received(JPEG).feed(flat[:lost] + flat[lost + 1 :])
        hit = owner[lost]
        whole = [unit.data for unit in got.units if not unit.damaged]
        assert len(whole) == 2, lost
        assert all(
            same(data, source)
            for data, source in zip(whole, [s for n, s in enumerate(sources) if n != hit], strict=True)
        )
        damaged = [unit for unit in got.units if unit.damaged]
        assert len(damaged) == (owner[lost] == owner[lost - 1])  # without its first packet nothing can be kept
        for unit in damaged:
            assert pixels(unit.data).shape == pixels(sources[hit]).shape
        assert sum(unit.lost_packets for unit in got.units) + got.track.take_loss() == 1


def test_pictures_without_any_marker_end_at_the_timestamp() -> None:
    sources = [image(320, 184, seed) for seed in (1, 2)]
    flat = [p for n, one in enumerate(sources) for p in packets(parse(one), Shape(BLOCKS), 0, n * 3600)]
    got = Received(JPEG).feed([bytes((p[0], p[1] & 0x7F)) + p[2:] for p in _numbered(flat)])
    assert [unit.damaged for unit in got.units] == [False, False]
    assert all(same(data, source) for data, source in zip(got.data, sources, strict=True))


def test_a_size_that_changes_is_another_config() -> None:
    one, other = parse(image(320, 184)), parse(image(64, 32))
    sent = packets(one, Shape(BLOCKS), 0, 0) + packets(other, Shape((8, 4)), 0, 3600)
    got = Received(JPEG).feed(_numbered(sent))
    assert [(unit.config.width, unit.config.height) for unit in got.units] == [(320, 184), (64, 32)]
    assert [code for code, _ in got.events] == ["config-changed"]


def test_fragments_out_of_place_are_the_senders_mistake() -> None:
    parsed = parse(image(320, 184))
    sent = packets(parsed, Shape(BLOCKS), 0, 0)
    broken = _numbered([*sent[:2], *sent[3:], *packets(parsed, Shape(BLOCKS), 0, 3600)])
    got = Received(JPEG).feed(broken)
    assert [unit.damaged for unit in got.units] == [True, False]
    assert got.track.depay.malformed == 1
    assert got.track.counters.lost_packets == 0


STEPS = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.binary(min_size=4, max_size=200).map(lambda rest: bytes(4) + rest),
        st.tuples(st.sampled_from([0xFFD8, 0xFFFF, 0xABAC]), st.binary(max_size=80)),
        st.sampled_from(["marker", "flush", "gap"]),
    ),
    max_size=30,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(steps=STEPS)
def test_any_bytes_give_images_and_no_exception(steps: list[bytes | str | tuple[int, bytes]]) -> None:
    images: list[bytes] = []
    depay = JpegDepacketiser(lambda data, kind, damaged, ticks: images.append(data))
    for step in steps:
        if isinstance(step, bytes):
            depay.feed(memoryview(b"\x00" * 5 + step), 5, 5 + len(step))
        elif isinstance(step, tuple):
            depay.extension(*step, 5)
        elif step == "gap":
            depay.gap(1)
        else:
            getattr(depay, step)()
    depay.flush()
    assert not depay.parts
    for data in images:
        assert data[:2] == jpeg.SOI
        list(jpeg.segments(data))


def test_mutated_streams_never_raise_and_stay_bounded() -> None:
    parsed: Parsed = parse(image(320, 184))
    content = b"".join(one.raw for one in parsed.headers)
    content += b"\x00" * (-len(content) % 4)
    clean = packets(parsed, Shape(BLOCKS), 1, 0)
    clean[0] = extended(clean[0], 0xFFD8, content)
    dice = random.Random(3)
    for _ in range(300):
        got = Received(JPEG)
        sent = [bytearray(packet) for packet in clean]
        for _ in range(dice.randint(1, 20)):
            packet = dice.choice(sent)
            packet[dice.randrange(min(len(packet), 80))] ^= 1 << dice.randrange(8)
        got.feed(bytes(packet) for packet in sent)
        assert len(got.units) <= len(sent)


def test_an_image_that_never_ends_is_bounded() -> None:
    depay = JpegDepacketiser(lambda *unit: None)
    head = b"\x00\x00\x00\x00\x01\x3c\x28\x17"
    depay.feed(memoryview(head + bytes(60_000)), 0, 60_008)
    for n in range(1, 700):
        offset = (n * 60_000 & 0xFFFFFF).to_bytes(3, "big")
        depay.feed(memoryview(b"\x00" + offset + head[4:] + bytes(60_000)), 0, 60_008)
        assert depay.kept_bytes <= MAX_UNIT_BYTES + 61_000
    assert depay.malformed >= 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_segments_or_a_typed_error(data: bytes) -> None:
    try:
        for one in jpeg.segments(data):
            assert one.raw in data
    except BitstreamError:
        pass


def _numbered(flat: list[bytes]) -> list[bytes]:
    return [p[:2] + (n + 1).to_bytes(2, "big") + p[4:] for n, p in enumerate(flat)]
