"""3. Packets are lost in bursts and arrive out of order.

Elsewhere a burst of reordering was taken for loss and whole streams were thrown away, or damage went unseen. Ours:
what only came late is put back, what is missing is counted once, and a picture that lacks a packet is kept and
marked.
"""

from __future__ import annotations

import random

import pytest

from recorderd.wire.reorder import WAIT_US, Reorder
from tests.wire.rtp_bench import Bench, frame, rtp

PACKETS = 6  # of a picture


def packets(pictures: int) -> list[bytes]:
    """Pictures of several fragments (FU-A), with their number inside."""
    out = []
    for number in range(pictures):
        for at in range(PACKETS):
            head = bytes((0x5C, 0x81 if at == 0 else 0x41 if at == PACKETS - 1 else 0x01))
            body = number.to_bytes(4, "big") + bytes((at + 1,)) * 30
            out.append(rtp(head + body, number * PACKETS + at, number * 3600, at == PACKETS - 1))
    return out


@pytest.mark.parametrize("seed", range(6))
def test_bursts(seed: int) -> None:
    rng = random.Random(seed)
    sent = packets(200)
    lost = set()
    for _ in range(8):
        first = rng.randrange(PACKETS * 2, len(sent) - 40)
        lost |= set(range(first, first + rng.randrange(1, 25)))
    there = [(number, packet) for number, packet in enumerate(sent) if number not in lost]
    for _ in range(15):  # and bursts that overtake each other
        at = rng.randrange(PACKETS * 2, len(there) - 30)
        piece = there[at : at + 20]
        rng.shuffle(piece)
        there[at : at + 20] = piece
    bench = Bench()
    order = Reorder(lambda buffer, pos, end: bench.receiver.receive(buffer, pos, end))
    for _, packet in there:
        framed = bytearray(frame(packet))
        order.batch(memoryview(framed), 0, len(framed), bench.clock.monotonic_us())
        bench.clock.advance(1_000)
        if order.due_us is not None and order.due_us <= bench.clock.monotonic_us():
            order.release(bench.clock.monotonic_us())
    bench.clock.advance(WAIT_US + 1)
    order.release(bench.clock.monotonic_us())
    order.flush()
    assert bench.track.counters.lost_packets == len(lost), "what came late is no loss, what is missing is counted once"
    assert sum(unit.lost_packets for unit in bench.units) + bench.track.take_loss() == len(lost)
    # Behind a loss nobody can tell whether its last packet was another slice of the next picture.
    whole = [number for number in range(200) if not lost & set(range(number * PACKETS - 1, (number + 1) * PACKETS))]
    sound = [int.from_bytes(unit.data[5:9], "big") for unit in bench.units if not unit.damaged]
    assert set(whole) <= set(sound), "a picture that lacks nothing is given, undamaged"
    assert sound == sorted(set(sound)), "in order, none twice"
    touched = {number // PACKETS for number in lost}
    assert not touched & set(sound), "none that lacks a packet is called sound"
