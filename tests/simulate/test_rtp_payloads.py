"""Payloaders: whatever size a frame has, the packets fit and give it back."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rtp_reader import Packet, split_interleaved, units_of

from recorderd.media.access_unit import Codec
from recorderd.wire.rtp_send import (
    RtpTrack,
    SenderCounts,
    aac_payloads,
    h264_payloads,
    h265_payloads,
    interleaved_packets,
    ntp_time,
    sender_report,
)

pytestmark = pytest.mark.fast
TRACK = RtpTrack(0, 96, 0xDEADBEEF)


@given(
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=4),
    mtu=st.integers(40, 1400),
    head=st.integers(0, 255),
    seq=st.integers(0, 200_000),
)
def test_video_survives_packets(sizes: list[int], mtu: int, head: int, seq: int) -> None:
    for codec, payloads in ((Codec.H264, h264_payloads), (Codec.H265, h265_payloads)):
        if codec is Codec.H264:
            first = bytes([head & 0x60 | (head % 23 + 1)])  # types 1 to 23 may travel alone
        else:
            first = bytes([head % 48 << 1 | head >> 7, 1 + head % 7])
        nals = [first + bytes(index % 251 for index in range(size)) for size in sizes]
        cut = [payload for nal in nals for payload in payloads(nal, mtu)]
        assert all(len(payload) <= mtu for payload in cut)
        stream = b"".join(interleaved_packets(TRACK, cut, seq, 2**32 + 7))
        packets = [Packet.read(channel, data) for channel, data in split_interleaved(stream)]
        assert [packet.seq for packet in packets] == [(seq + index) % 65536 for index in range(len(cut))]
        assert {(p.timestamp, p.ssrc, p.payload_type) for p in packets} == {(7, 0xDEADBEEF, 96)}
        assert [packet.marker for packet in packets] == [False] * (len(cut) - 1) + [True]
        (unit,) = units_of(packets, codec)
        assert unit.nals == nals


@given(size=st.integers(0, 8191), mtu=st.integers(60, 1400))
def test_aac_survives_packets(size: int, mtu: int) -> None:
    frame = bytes(index % 253 for index in range(size))
    payloads = aac_payloads(frame, mtu)
    assert all(len(payload) <= mtu for payload in payloads)
    for payload in payloads:
        bits, header = struct.unpack_from(">HH", payload)
        assert bits == 16, "one AU header of 13 + 3 bits"
        assert header == size << 3, "every fragment tells the size of the whole frame"
    assert b"".join(payload[4:] for payload in payloads) == frame


def test_aac_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="8192"):
        aac_payloads(bytes(8192))


def test_ntp_time() -> None:
    assert ntp_time(0) == 2_208_988_800 << 32
    assert ntp_time(1_500_000) == (2_208_988_801 << 32) + (1 << 31)
    assert ntp_time((2**32 - 2_208_988_800) * 1_000_000) == 0, "the era of 2036"


def test_sender_report_is_a_compound_of_whole_words() -> None:
    for name in ("a", "ab", "abc", "abcd"):
        report = sender_report(5, 0, 2**32 + 9, SenderCounts(2**32 + 3, 4), name)
        head = struct.unpack_from(">BBHIQIII", report)
        assert head == (0x80, 200, 6, 5, 2_208_988_800 << 32, 9, 3, 4)
        first, kind, words, ssrc, item, length = struct.unpack_from(">BBHIBB", report, 28)
        assert (first, kind, ssrc, item, length) == (0x81, 202, 5, 1, len(name))
        assert 28 + 4 * (words + 1) == len(report)
        assert report[38 : 38 + len(name)] == name.encode()
        assert report[38 + len(name)] == 0
