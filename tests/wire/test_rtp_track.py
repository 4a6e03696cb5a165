"""RTP reception: sequence numbers, sources, odd headers, sender reports, steps, resynchronisation; audio; fuzz."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rtp_bench import SSRC, Bench, frame, rtp, sender_report

from recorderd.media import aac
from recorderd.media.access_unit import Codec, CodecConfig, MediaKind, TimeQuality
from recorderd.media.timeline import NTP_EPOCH_S
from recorderd.wire.errors import ProtocolError
from recorderd.wire.rtcp import ReportBlock, build_receiver_report, parse_rtcp

pytestmark = pytest.mark.fast

SLICE = b"\x41\x9a" + b"\x11" * 40
UTC_S = 1_750_000_000


def one(seq: int, ts: int, **more: int) -> bytes:
    return rtp(SLICE, seq, ts, True, **more)


def test_wrap_of_sequence_and_timestamp() -> None:
    bench = Bench().feed([one(65534 + at, 0xFFFFF000 + at * 3600) for at in range(6)])
    assert [unit.pts - bench.units[0].pts for unit in bench.units] == [at * 3600 for at in range(6)]
    assert bench.track.counters.lost_packets == 0


def test_repeated_and_late_packets_are_dropped() -> None:
    bench = Bench().feed([one(1, 0), one(2, 3600), one(2, 3600), one(1, 0), one(3, 7200)])
    assert len(bench.units) == 3
    assert bench.track.counters.duplicates == 2
    assert bench.track.counters.lost_packets == 0


def test_loss_is_counted_once_on_the_next_unit() -> None:
    bench = Bench().feed([one(1, 0), one(5, 14400), one(6, 18000)])
    assert [unit.lost_packets for unit in bench.units] == [0, 3, 0]
    assert bench.track.take_loss() == 0


def test_loss_that_reaches_past_an_open_unit_is_the_next_units() -> None:
    """The rest of a picture and three whole pictures are gone: the next unit says so, its time shows how many."""
    start = rtp(b"\x5c\x81" + b"\x9a" * 30, 2, 3600, False)  # FU-A, start of a slice
    bench = Bench().feed([one(1, 0), start, one(16, 18000), one(17, 21600)])
    assert [unit.damaged for unit in bench.units] == [False, True, False, False]
    assert [unit.lost_packets for unit in bench.units] == [0, 0, 13, 0]
    assert [unit.pts - bench.units[0].pts for unit in bench.units] == [0, 3600, 18000, 21600]


def test_new_source_begins_a_new_run() -> None:
    bench = Bench().feed([one(1, 0), one(2, 3600), one(40000, 123, ssrc=9), one(40001, 3723, ssrc=9)])
    assert [unit.discontinuity for unit in bench.units] == [False, False, True, False]
    assert bench.track.counters.restarts == 1
    assert bench.track.counters.lost_packets == 0


def test_quirk_10_padding_sources_extensions_foreign_types() -> None:
    padded = rtp(SLICE + b"\x00\x00\x00\x04", 1, 0, True, first=0xA0)
    sources = rtp(b"\x00" * 8 + SLICE, 2, 3600, True, first=0x82)
    one_byte = rtp(b"\xbe\xde\x00\x01abcd" + SLICE, 3, 7200, True, first=0x90)
    onvif = rtp(b"\xab\xac\x00\x03" + b"\x00" * 12 + SLICE, 4, 10800, True, first=0x90)
    foreign = rtp(b"geo", 77, 0, False, pt=50)
    bench = Bench().feed([padded, sources, foreign, one_byte, onvif])
    assert [unit.data[4:] for unit in bench.units] == [SLICE] * 4
    assert bench.track.counters.foreign == 1
    assert bench.track.counters.lost_packets == 0


@pytest.mark.parametrize("first", [0xAF, 0xBF, 0x9F, 0x00])
def test_lying_headers_are_counted(first: int) -> None:
    bench = Bench().feed([rtp(b"\xff\xff\xff\xff", 1, 0, first=first), one(2, 0)])
    assert len(bench.units) == 1
    assert bench.track.counters.malformed >= 1


def test_camera_utc_from_sender_reports() -> None:
    bench = Bench().feed([one(1, 90_000)])
    assert (bench.units[0].cam_us, bench.units[0].cam_quality) == (None, TimeQuality.NONE)
    bench.read(frame(sender_report(UTC_S + NTP_EPOCH_S, 1 << 31, 90_000), 1))
    bench.feed([one(2, 180_000)])
    assert bench.units[1].cam_us == (UTC_S + 1) * 1_000_000 + 500_000
    assert bench.units[1].cam_quality is TimeQuality.SENDER_REPORT


def test_quirk_8_report_on_the_media_channel_and_of_a_foreign_source() -> None:
    bench = Bench().feed([one(1, 90_000)])
    bench.read(frame(sender_report(UTC_S + NTP_EPOCH_S, 0, 90_000, ssrc=99), 0))
    bench.feed([one(2, 93_600)])
    assert bench.units[1].cam_us == UTC_S * 1_000_000 + 40_000
    assert bench.track.counters.malformed == bench.track.counters.foreign == 0


def test_play_range_until_reports_come() -> None:
    bench = Bench()
    bench.track.play_range(90_000, UTC_S * 1_000_000)
    bench.feed([one(1, 93_600)])
    assert bench.units[0].cam_us == UTC_S * 1_000_000 + 40_000
    assert bench.units[0].cam_quality is TimeQuality.PLAY_RANGE
    other = Bench()
    other.track.play_range(7, UTC_S * 1_000_000)
    other.feed([one(1, 2_000_000_000)])
    assert other.units[0].cam_us is None, "an rtptime far from the first packet is garbage"


def test_report_jump_needs_two_agreeing_reports() -> None:
    bench = Bench().feed([one(1, 0)])
    for number, utc_s in enumerate((UTC_S, UTC_S + 5, UTC_S + 3610, UTC_S + 15, UTC_S + 3620, UTC_S + 3625)):
        bench.read(frame(sender_report(utc_s + NTP_EPOCH_S, 0, number * 450_000), 1))
    assert bench.events == [("clock-step", {"delta_us": 3_600_000_000})]
    bench.feed([one(2, 5 * 450_000)])
    assert bench.units[1].discontinuity
    assert bench.units[1].cam_us == (UTC_S + 3625) * 1_000_000


def play_through(bench: Bench, count: int, seq: int, ts: int, gap_us: int = 40_000) -> tuple[int, int]:
    for _ in range(count):
        bench.feed([one(seq, ts)])
        bench.clock.advance(gap_us)
        seq, ts = seq + 1, ts + 3600
    return seq, ts


@pytest.mark.parametrize("step_s", [3600, -3600, 2])
def test_step_of_the_media_clock(step_s: int) -> None:
    bench = Bench()
    seq, ts = play_through(bench, 50, 1, 1 << 30)
    play_through(bench, 50, seq, ts + step_s * 90_000)
    (event,) = bench.events
    assert event[0] == "clock-step"
    assert abs(int(str(event[1]["delta_us"])) - step_s * 1_000_000) < 50_000
    assert [at for at, unit in enumerate(bench.units) if unit.discontinuity] == [50]
    assert bench.units[50].pts - bench.units[49].pts == step_s * 90_000 + 3600, "values stay what was sent"


def test_a_stalled_network_is_no_step() -> None:
    bench = Bench()
    seq, ts = play_through(bench, 50, 1, 0)
    bench.clock.advance(5_000_000)
    seq, ts = play_through(bench, 50, seq, ts, gap_us=0)  # two seconds from the camera's buffer, at once
    play_through(bench, 50, seq, ts + 3 * 90_000)  # the camera dropped three seconds
    assert bench.events == []


def test_quirk_9_resynchronises_after_a_cut_frame() -> None:
    packets = [one(at, at * 3600) for at in range(1, 9)]
    good = list(map(frame, packets))
    bench = Bench()
    bench.read(b"".join(good[:3]) + good[3][20:] + b"".join(good[4:]))
    assert len(bench.units) == 7
    assert bench.receiver.resyncs == 1
    assert sum(unit.lost_packets for unit in bench.units) == 1


def test_endless_garbage_is_a_protocol_error() -> None:
    bench = Bench()
    with pytest.raises(ProtocolError):
        bench.read(b"\x01" * 300_000)


def test_quirk_7_unassigned_channels_are_skipped() -> None:
    bench = Bench()
    bench.read(frame(b"stale", 6) + frame(one(1, 0)) + frame(b"", 200))
    assert len(bench.units) == 1
    assert bench.receiver.unassigned == 2


def test_receiver_report_reads_back() -> None:
    bench = Bench().feed([one(1, 0), one(4, 3600)])
    block = bench.track.report_block()
    # Media time went on by 3600 ticks, the clock stood still: jitter is a 16th of the difference (RFC 3550 A.8).
    assert block == ReportBlock(SSRC, 2 * 256 // 4, 2, 4, 3600 // 16)
    report = build_receiver_report(7, block, b"recorderd")
    assert len(report) % 4 == 0
    assert struct.unpack_from(">BBHII", report) == (0x81, 201, 7, 7, SSRC)
    assert parse_rtcp(report, 0, len(report)) == []


def jitter_after(arrivals_us: list[int]) -> int:
    """Pictures of 3600 ticks that arrive after these pauses."""
    bench = Bench()
    for number, pause_us in enumerate(arrivals_us):
        bench.clock.advance(pause_us)
        bench.feed([one(number, number * 3600)])
    block = bench.track.report_block()
    assert block is not None
    return block.jitter


def test_jitter_of_even_and_uneven_arrivals() -> None:
    assert jitter_after([40_000] * 50) == 0
    # 10 ms early and late in turns: transit times differ by 20 ms, 1800 ticks.
    uneven = jitter_after([40_000] + [60_000, 20_000] * 100)
    assert 1700 < uneven <= 1800


def test_g711_any_packet_length() -> None:
    config = CodecConfig(Codec.PCMU, MediaKind.AUDIO, 8000)
    bench = Bench("g711", config=config).feed([rtp(b"a" * 160, 1, 0), rtp(b"b" * 77, 2, 160), rtp(b"", 3, 237)])
    assert bench.data == [b"a" * 160, b"b" * 77]
    assert [unit.pts - bench.units[0].pts for unit in bench.units] == [0, 160]


def au_headers(*sizes: int) -> bytes:
    return struct.pack(">H", 16 * len(sizes)) + b"".join(struct.pack(">H", size << 3) for size in sizes)


def test_aac_aggregated_and_fragmented() -> None:
    config = aac.codec_config(bytes.fromhex("1190"), 48000)
    several = rtp(au_headers(3, 4) + b"aaabbbb", 1, 1024, True)
    parts = [rtp(au_headers(10) + b"cccc", 2, 3072), rtp(au_headers(10) + b"dddddd", 3, 3072, True)]
    bench = Bench("aac", config=config).feed([several, *parts])
    assert bench.data == [b"aaa", b"bbbb", b"ccccdddddd"]
    assert [unit.pts - bench.units[0].pts for unit in bench.units] == [0, 1024, 2048]
    torn = Bench("aac", config=config).feed([parts[0], rtp(au_headers(3) + b"eee", 4, 4096, True)])
    assert [(unit.data, unit.damaged) for unit in torn.units] == [(b"cccc", True), (b"eee", False)]


_VALID = [frame(one(at, at * 3600)) for at in range(4)] + [frame(sender_report(1, 2, 3), 1), frame(one(1, 0)[:9])]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["h264", "h265", "aac", "g711"]),
    st.lists(
        st.sampled_from(_VALID)
        | st.binary(max_size=60)
        | st.builds(
            lambda payload, seq, ts, marker: frame(rtp(payload, seq, ts, marker)),
            st.binary(max_size=40)
            | st.sampled_from([b"\x7c\x85\xaa", b"\x7c\x05\xbb", b"\x62\x01\x93x", b"\x78\x00\x01g"]),
            st.integers(0, 5),
            st.integers(0, 2),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.integers(1, 200),
)
def test_any_bytes_give_units_or_protocol_error(codec: str, pieces: list[bytes], step: int) -> None:
    config = (
        aac.codec_config(bytes.fromhex("1190"), 48000)
        if codec == "aac"
        else CodecConfig(Codec.PCMU, MediaKind.AUDIO, 8000)
    )
    video = codec in ("h264", "h265")
    data = b"".join(pieces)
    bench = Bench(codec, config=None if video else config)
    try:
        for at in range(0, len(data), step):
            bench.read(data[at : at + step])
    except ProtocolError:
        pass
    assert sum(map(len, bench.track.depay.parts)) + len(bench.pending) <= 8 * len(data) + 64
