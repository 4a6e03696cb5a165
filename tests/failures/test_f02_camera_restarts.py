"""2. The camera restarts in the middle of the night.

Another RTP source, other parameter sets, media time from anywhere.

Elsewhere the file went on with the old parameter sets and could not be decoded from there, or the recorder hung.
Ours: the new source begins a new run of media time, the new coding is written before the first picture that needs it.
"""

from __future__ import annotations

from pathlib import Path

from recorderd.media.access_unit import MediaKind
from tests.time.time_rig import FRAME_US, S, World
from tests.wire.rtp_bench import Bench, rtp

BIG = bytes.fromhex("6764000cacd941419f9f011000000300100000030320f1429960")  # 320x240
SMALL = bytes.fromhex("42c00ada1e8dca7006a020202800000300080000030190780c83ce").join((b"\x67", b""))
PPS = bytes.fromhex("68ef8fcb")


def burst(bench: Bench, sets: bytes, seq: int, ts: int, ssrc: int, count: int) -> None:
    for number in range(count):
        key = number % 5 == 0
        nals = [sets, PPS, b"\x65\x88" + b"\x33" * 50] if key else [b"\x41\x9a" + b"\x11" * 40]
        for at, nal in enumerate(nals):
            bench.feed([rtp(nal, seq, ts, at == len(nals) - 1, ssrc=ssrc)])
            seq += 1
        ts += 90_000 * FRAME_US // S
        bench.clock.advance(FRAME_US)


async def test_both_lives_are_recorded_each_with_its_own_coding(tmp_path: Path) -> None:
    bench = Bench()
    burst(bench, BIG, 100, 4_000_000_000, 7, 20)
    bench.clock.advance(20 * S)
    burst(bench, SMALL, 60_000, 17, 8, 20)
    units = bench.units
    assert [number for number, unit in enumerate(units) if unit.discontinuity] == [20]
    assert bench.track.counters.restarts == 1
    assert bench.track.counters.lost_packets == 0, "another source is no loss"
    widths = {unit.config.width for unit in units[:20]}, {unit.config.width for unit in units[20:]}
    assert widths[0] != widths[1]

    world = World(tmp_path, clock=bench.clock)
    await world.start()
    for unit in units:
        world.stream.unit(MediaKind.VIDEO, unit)
    await world.stop()
    reader = world.reader()
    found = [(reader.config(ref).width, s.data) for ref in reader.chunks(world.track, 0, 1 << 61)
             for s in reader.read(ref).samples]  # fmt: skip
    assert found == [(unit.config.width, unit.data) for unit in units], "every picture, with the coding it needs"
    reader.close()
