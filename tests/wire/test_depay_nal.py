"""H.264 and H.265 over RTP: every packet form, every border of a unit, loss at every place."""

from __future__ import annotations

import struct

import pytest
from rtp_bench import Bench, rtp

from recorderd.media.access_unit import UnitType
from recorderd.media.nal import join_units
from recorderd.wire.rtp_send import h264_payloads, h265_payloads

pytestmark = pytest.mark.fast

SPS = bytes.fromhex("6764000cacd941419f9f0110000003001000000303 20f142996 0".replace(" ", ""))
PPS = bytes.fromhex("68ef8fcb")
SEI = b"\x06\x05\x04abcd\x80"
RECOVERY = b"\x06\x06\x01\x84\x80"
AUD = b"\x09\xf0"
IDR = b"\x65\x88" + bytes(range(1, 200)) * 30
SLICE = b"\x41\x9a" + bytes(range(1, 200)) * 20
SECOND = b"\x41\x3a" + bytes(range(1, 200)) * 5  # first_mb_in_slice > 0
FILLER = b"\x0c\xff\xff\x80"

H265_VPS = bytes.fromhex("40010c01ffff01600000030090000003000003003c95940900")[:-1]
H265_IDR = b"\x26\x01\xaf" + bytes(range(1, 200)) * 30
H265_CRA = b"\x2a\x01\xaf" + bytes(range(1, 200)) * 3
H265_SLICE = b"\x02\x01\xd0" + bytes(range(1, 200)) * 20
H265_SEI = b"\x4e\x01\x05\x04abcd\x80"


def packets(
    unit: list[bytes], seq: int, ts: int, codec: str = "h264", marker: bool = True, limit: int = 600
) -> list[bytes]:
    make = h264_payloads if codec == "h264" else h265_payloads
    payloads = [payload for nal in unit for payload in make(nal, limit)]
    last = len(payloads) - 1
    return [rtp(payload, seq + at, ts, marker and at == last) for at, payload in enumerate(payloads)]


def stream(units: list[list[bytes]], codec: str = "h264", marker: bool = True) -> list[bytes]:
    out: list[bytes] = []
    for number, unit in enumerate(units):
        out += packets(unit, len(out) + 65_530, number * 3600, codec, marker)
    return out


H264_UNITS = [[AUD, SPS, PPS, SEI, IDR], [SEI, SLICE], [SEI, SLICE, SECOND, FILLER], [RECOVERY, SLICE], [SLICE]]
H265_UNITS = [[H265_VPS, H265_SEI, H265_IDR], [H265_SEI, H265_SLICE], [H265_CRA], [H265_SLICE]]


@pytest.mark.parametrize("step", [1, 5, 700, 1 << 20])
@pytest.mark.parametrize("marker", [True, False])
def test_h264_units_equal_what_was_sent(step: int, marker: bool) -> None:
    bench = Bench().feed(stream([*H264_UNITS, [SLICE]], marker=marker), step)
    bench.track.depay.flush()
    assert bench.data[:5] == [join_units(unit) for unit in H264_UNITS]
    assert [unit.type for unit in bench.units[:5]] == [
        UnitType.IDR, UnitType.DELTA, UnitType.DELTA, UnitType.RECOVERY_POINT, UnitType.DELTA,
    ]  # fmt: skip
    assert [unit.pts - bench.units[0].pts for unit in bench.units[:5]] == [0, 3600, 7200, 10800, 14400]
    assert not any(unit.damaged or unit.lost_packets for unit in bench.units)
    assert bench.units[0].config.parameter_sets == (SPS, PPS)
    assert bench.units[0].config.width == 320


@pytest.mark.parametrize("step", [1, 5, 700, 1 << 20])
def test_h265_units_equal_what_was_sent(step: int) -> None:
    bench = Bench("h265").feed(stream(H265_UNITS, "h265"), step)
    assert bench.data == [join_units(unit) for unit in H265_UNITS]
    assert [unit.type for unit in bench.units] == [
        UnitType.IDR, UnitType.DELTA, UnitType.OPEN_GOP, UnitType.DELTA,
    ]  # fmt: skip


def test_stap_a_and_aggregation_packets() -> None:
    nals = [SPS, PPS, SEI, IDR[:300]]
    stap = b"\x78" + b"".join(struct.pack(">H", len(nal)) + nal for nal in nals)
    assert Bench().feed([rtp(stap, 1, 0, True)]).data == [join_units(nals)]
    hevc = [H265_VPS, H265_SEI, H265_IDR[:300]]
    ap = b"\x60\x01" + b"".join(struct.pack(">H", len(nal)) + nal for nal in hevc)
    assert Bench("h265").feed([rtp(ap, 1, 0, True)]).data == [join_units(hevc)]


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_loss_at_every_place(codec: str) -> None:
    """One packet missing anywhere: the count is exact, the units it touches are flagged, all others are whole."""
    # Without the unit that is a bare slice: where such exist, a lone lost SEI in front cannot be noticed.
    units = H264_UNITS[:-1] if codec == "h264" else H265_UNITS[:-1]
    units = [*units[:2], *units, *units]
    sent = stream(units, codec)
    border = len(stream(units[:2], codec))  # the first two units teach what a whole unit begins with
    owner = [at for at, unit in enumerate(units) for _ in stream([unit], codec)]
    for gone in range(border, len(sent) - 1):
        bench = Bench(codec).feed(sent[:gone] + sent[gone + 1 :], 997)
        assert sum(unit.lost_packets for unit in bench.units) + bench.track.take_loss() == 1, gone
        whole = {unit.pts - bench.units[0].pts: unit for unit in bench.units}
        for number, unit in enumerate(units):
            got = whole.get(number * 3600)
            if number != owner[gone]:
                assert got is not None, (gone, number)
                assert got.data == join_units(unit), (gone, number)
            else:
                assert got is None or got.damaged or got.data == join_units(unit), (gone, number)


def test_what_arrived_of_a_damaged_picture_is_kept() -> None:
    sent = packets([SEI, IDR], 1, 0)
    bench = Bench().feed(stream([[SEI, SLICE]])[:0] + sent[:5] + sent[6:])
    (unit,) = bench.units
    assert unit.damaged
    assert unit.lost_packets == 1
    assert unit.data == join_units([SEI, IDR[: 1 + 4 * 598]])


def test_a_fragment_without_start_is_not_passed_off_as_a_picture() -> None:
    sent = packets([SEI, IDR], 1, 0)
    (unit,) = Bench().feed(sent[:1] + sent[2:]).units
    assert unit.damaged
    assert unit.type is UnitType.DELTA
    assert unit.data == join_units([SEI])


def test_quirk_14_marker_on_parameter_sets_only() -> None:
    sent = []
    for number in range(3):
        for nal in (SPS, PPS, IDR):
            sent += packets([nal], len(sent), number * 3600, marker=nal is not IDR)
    assert Bench().feed(sent).data == [join_units([SPS, PPS, IDR])] * 2


def test_quirk_14_marker_on_every_slice() -> None:
    sent = []
    for number in range(4):
        for nal in (SLICE, SECOND):
            sent += packets([nal], len(sent), number * 3600)
    assert Bench().feed(sent).data[2:] == [join_units([SLICE, SECOND])] * 2


def test_quirk_15_constant_timestamp_without_marker() -> None:
    units = [[SPS, PPS, IDR], [SEI, SLICE, SECOND], [SLICE], [SPS, PPS, IDR], [SLICE]]
    sent = []
    for unit in units:
        sent += packets(unit, len(sent), 0, marker=False)
    for step in (50, 1 << 20):
        assert Bench().feed(sent, step).data == [join_units(unit) for unit in units[:-1]]


def test_quirk_15_two_units_with_one_timestamp() -> None:
    sent = packets([SLICE], 0, 0)
    sent += packets([SLICE], len(sent), 3600)
    sent += packets([SLICE], len(sent), 3600)
    bench = Bench().feed(sent)
    assert bench.data == [join_units([SLICE])] * 3
    assert bench.units[1].pts == bench.units[2].pts


def test_quirk_16_fragments_of_changing_type_reserved_bits_missing_flags() -> None:
    good = packets([IDR], 1, 0)
    changed = [bytearray(packet) for packet in good]
    changed[3][13] = changed[3][13] & 0xE0 | 1  # another NAL type in the middle (Tiandy)
    changed[4][13] |= 0x20  # reserved bit
    assert Bench().feed(list(map(bytes, changed))).data == [join_units([IDR])]
    no_start = [bytearray(packet) for packet in good]
    no_start[0][13] &= 0x7F
    first = packets([SLICE], 0, 7)[:1]
    first = [rtp(SLICE[:50], 0, 7, True)]
    assert Bench().feed(first + list(map(bytes, no_start))).data[1:] == [join_units([IDR])]
    no_end = [bytearray(packet) for packet in good]
    no_end[-1][13] &= 0xBF
    assert Bench().feed(list(map(bytes, no_end))).data == [join_units([IDR])]


def test_quirk_16_empty_fragment_and_empty_packet() -> None:
    good = packets([IDR], 1, 0)
    empty = rtp(bytes((good[1][12], good[1][13])), 3, 0)
    later = [rtp(packet[12:], 4 + at, 0, bool(packet[1] & 0x80)) for at, packet in enumerate(good[2:])]
    assert Bench().feed([*good[:2], empty, *later]).data == [join_units([IDR])]
    assert Bench().feed([rtp(b"", 0, 0), *good]).data == [join_units([IDR])]


def test_quirk_16_annex_b_inside_a_packet() -> None:
    payload = b"\x00\x00\x00\x01" + SPS + b"\x00\x00\x00\x01" + PPS + b"\x00\x00\x01" + IDR[:400]
    assert Bench().feed([rtp(payload, 1, 0, True)]).data == [join_units([SPS, PPS, IDR[:400]])]
    fragments = h264_payloads(SPS + b"\x00\x00\x00\x01" + PPS + b"\x00\x00\x01" + IDR[:400], 100)
    sent = [rtp(one, at, 0, at == len(fragments) - 1) for at, one in enumerate(fragments)]
    bench = Bench().feed(sent, 130)
    assert bench.data == [join_units([SPS, PPS, IDR[:400]])]
    assert bench.units[0].type is UnitType.IDR


def test_quirk_16_trailing_zeros_behind_sps() -> None:
    bench = Bench(sets=[SPS, PPS]).feed(packets([SPS + b"\x00\x00", PPS, IDR], 0, 0))
    assert bench.units[0].config.parameter_sets == (SPS, PPS)
    assert bench.data == [join_units([SPS + b"\x00\x00", PPS, IDR])], "the unit itself stays as received"


def test_quirk_4_in_band_wins_over_the_description() -> None:
    other = SPS[:3] + b"\x1f" + SPS[4:]
    bench = Bench(sets=[other, PPS]).feed(packets([SPS, PPS, IDR], 0, 0))
    assert bench.units[0].config.parameter_sets == (SPS, PPS)
    assert bench.events == []


def test_quirk_17_parameter_sets_change_in_mid_stream() -> None:
    other = SPS[:3] + b"\x1f" + SPS[4:]
    sent = packets([SPS, PPS, IDR], 0, 0)
    sent += packets([SLICE], len(sent), 3600)
    sent += packets([other, PPS, IDR], len(sent), 7200)
    sent += packets([SLICE], len(sent), 10800)
    bench = Bench(sets=[SPS, PPS]).feed(sent)
    configs = [unit.config for unit in bench.units]
    assert configs[0] is configs[1]
    assert configs[2] is configs[3]
    assert configs[2] is not configs[1]
    assert configs[2].codec_string == "avc1.64001f"
    assert [code for code, _ in bench.events] == ["config-changed"]


def test_quirk_18_keyframe_above_1_mb_in_more_than_800_packets() -> None:
    big = b"\x65\x88" + b"".join(b"%08d" % number for number in range(150_000))
    sent = [rtp(one, at, 0) for at, one in enumerate(h264_payloads(big))]
    sent[-1] = sent[-1][:1] + bytes((sent[-1][1] | 0x80,)) + sent[-1][2:]
    assert len(sent) > 800
    assert Bench().feed(sent, 100_000).data == [join_units([big])]


def test_an_endless_picture_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("depay", "interleaved"):
        monkeypatch.setattr(f"recorderd.wire.{module}.MAX_UNIT_BYTES", 100_000)
    bench = Bench()
    start = h264_payloads(IDR, 600)[0]
    middle = h264_payloads(IDR, 600)[1]
    bench.feed([rtp(start, 0), *(rtp(middle, seq) for seq in range(1, 400))], 3000)
    assert sum(map(len, bench.track.depay.parts)) < 200_000
    assert bench.track.depay.malformed == 1
    bench.feed(packets([SLICE], 400, 3600))
    assert bench.units[-1].data == join_units([SLICE])


@pytest.mark.parametrize("payload", [b"\x7c", b"\x1d\x00\x00", b"\x78\x00", b"\x78\xff\xff\x00", b"\x65", b"\x00"])
def test_malformed_payloads_are_counted(payload: bytes) -> None:
    bench = Bench().feed([rtp(payload, 0, 0), *packets([SLICE], 1, 0)])
    assert bench.data == [join_units([SLICE])]
    assert bench.units[0].damaged == (bench.track.depay.malformed > 0)
