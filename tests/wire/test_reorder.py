"""Order out of disorder: whatever a network does, every packet once, in order, and loss counted once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rtp_bench import SSRC, Bench, frame, rtp

from recorderd.media.access_unit import Codec, CodecConfig, MediaKind
from recorderd.wire.reorder import MAX_HELD, WAIT_US, Reorder
from recorderd.wire.rtcp import build_receiver_report

pytestmark = pytest.mark.fast


class Line:
    """A Reorder whose output is kept as sequence numbers; `lost` as told."""

    def __init__(self) -> None:
        self.out: list[int] = []
        self.lost: list[int] = []
        self.order = Reorder(self._take, self.lost.append)

    def _take(self, view: memoryview, pos: int, end: int) -> None:
        while pos < end:
            size = view[pos + 2] << 8 | view[pos + 3]
            self.out.append(view[pos + 6] << 8 | view[pos + 7])
            pos += 4 + size
        assert pos == end, "a packet was cut"

    def feed(self, numbers: list[int], now_us: int = 0, ssrc: int = SSRC) -> Line:
        data = bytearray(b"".join(frame(rtp(b"x" * (n % 7), n, ssrc=ssrc)) for n in numbers))
        self.order.batch(memoryview(data), 0, len(data), now_us)
        data[:] = b"\xaa" * len(data)  # the buffer is used again
        return self


def test_in_order_passes_in_one_piece() -> None:
    pieces: list[tuple[int, int]] = []
    order = Reorder(lambda view, pos, end: pieces.append((pos, end)))
    data = memoryview(b"".join(frame(rtp(b"abc", n)) for n in range(65530, 65550)))
    order.batch(data, 0, len(data), 0)
    assert pieces == [(0, 19), (19, len(data))], "the first packet sets the order, the rest is one piece"


def test_a_swap_is_put_right_without_waiting() -> None:
    line = Line().feed([1, 2, 4, 3, 5])
    assert line.out == [1, 2, 3, 4, 5]
    assert line.lost == []
    assert line.order.due_us is None
    assert line.order.reordered == 1


def test_a_gap_waits_and_is_then_given_up_once() -> None:
    line = Line().feed([1, 2]).feed([5, 6], now_us=1000)
    assert line.out == [1, 2]
    assert line.order.due_us == 1000 + WAIT_US
    line.order.release(999 + WAIT_US)
    assert line.out == [1, 2]
    line.order.release(1000 + WAIT_US)
    assert line.out == [1, 2, 5, 6]
    assert line.lost == [2]
    line.feed([3, 4, 4, 6, 7], now_us=2_000_000)
    assert line.out == [1, 2, 5, 6, 7]
    assert (line.order.late, line.order.duplicates) == (3, 1)
    assert line.lost == [2]


def test_what_waits_is_bounded() -> None:
    line = Line().feed([1]).feed(list(range(3, 3 + MAX_HELD)))
    assert line.out == [1]
    line.feed([3 + MAX_HELD])
    assert line.out == [1, *range(3, 4 + MAX_HELD)]
    assert line.lost == [1]


def test_a_source_that_begins_anew_is_not_waited_for() -> None:
    line = Line().feed([10, 11]).feed([9, 10], ssrc=SSRC + 1).feed([30_000, 30_001], ssrc=SSRC + 1)
    assert line.out == [10, 11, 9, 10, 30_000, 30_001]
    assert line.lost == []


def test_reports_on_the_media_port_and_scraps() -> None:
    line, out = Line().feed([1]), list[bytes]()
    line.order._deliver = lambda view, pos, end: out.append(bytes(view[pos:end]))
    report = frame(build_receiver_report(7, None, b"x"))
    data = memoryview(report + frame(b"") + frame(b"\x80") + frame(rtp(b"y", 2)) + frame(b"\x80"))
    line.order.batch(data, 0, len(data), 0)
    assert out == [report, frame(rtp(b"y", 2))]
    assert line.order.malformed == 3


def test_the_end_gives_out_what_waits() -> None:
    line = Line().feed([1, 3, 6])
    line.order.flush()
    assert line.out == [1, 3, 6]
    assert line.lost == [1, 2]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 65535),
    st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.booleans()), min_size=5, max_size=120),
    st.lists(st.integers(1, 15), min_size=1, max_size=40),
)
def test_any_network(first: int, fate: list[tuple[int, bool, bool]], sizes: list[int]) -> None:
    """Packets are delayed by up to 40 places, some lost, some doubled, and read in batches of any size."""
    kept = [n for n, (_, lost, _) in enumerate(fate) if not lost or n == 0]
    arrivals = sorted((n + fate[n][0] * (n > 0), n) for n in kept)
    numbers = [n for _, n in arrivals for _ in range(1 + fate[n][2])]
    line, at = Line(), 0
    for size in sizes * 120:
        if at >= len(numbers):
            break
        line.feed([(first + n) & 0xFFFF for n in numbers[at : at + size]])
        at += size
    line.order.flush()
    assert line.out == [(first + n) & 0xFFFF for n in kept]
    assert sum(line.lost) == kept[-1] + 1 - len(kept)
    assert line.order.duplicates == len(numbers) - len(kept)
    assert line.order.late == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.builds(rtp, st.binary(max_size=40), st.integers(0, 65535)), max_size=30))
def test_any_bytes_do_no_harm(datagrams: list[bytes]) -> None:
    bench = Bench("h264")
    order = Reorder(bench.receiver.receive)
    for number, one in enumerate(datagrams):
        data = memoryview(frame(one))
        order.batch(data, 0, len(data), number * 50_000)
        order.release(number * 50_000)
    order.flush()
    assert order.due_us is None
    assert bench.receiver.resyncs == 0


def test_loss_reaches_the_next_unit_once() -> None:
    bench = Bench("g711", config=CodecConfig(Codec.PCMU, MediaKind.AUDIO, 8000))
    order = Reorder(bench.receiver.receive)
    packets = {n: frame(rtp(bytes([n]) * 160, n, 160 * n)) for n in range(10)}
    data = memoryview(b"".join(packets[n] for n in (0, 1, 3, 2, 2, 6, 7, 9)))
    order.batch(data, 0, len(data), 0)
    order.release(WAIT_US)
    assert [unit.data[0] for unit in bench.units] == [0, 1, 2, 3, 6, 7, 9]
    assert [unit.lost_packets for unit in bench.units] == [0, 0, 0, 0, 2, 0, 1]
    assert bench.track.counters.lost_packets == 3
    assert (bench.track.counters.duplicates, order.duplicates) == (0, 1)
