"""Feeds in hand-moved time: numbering, pacing, faults. No sockets, no waiting."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from rtp_reader import Packet, split_interleaved, units_of
from small_farm import SMALL

from recorderd.core.clock import FakeClock
from recorderd.media.access_unit import Codec
from recorderd.media.marker import Marker, find_marker, vcl_crc
from recorderd.rtspserver.mount import PlayStart
from recorderd.simulate import feed as feed_module
from recorderd.simulate.camera import Camera, FarmStart
from recorderd.simulate.farm import make_streams
from recorderd.simulate.faults import Faults, add_faults
from recorderd.simulate.feed import Feed
from recorderd.simulate.options import parse_options
from recorderd.simulate.tally import Tally
from recorderd.wire.rtp_send import ntp_time

FPS, GOP = 50, 10
START = FarmStart(mono_us=5_000_000, utc_us=1_700_000_000_000_000)


class Outlet:
    """Takes everything; keeps each send with its time."""

    def __init__(self) -> None:
        self.backlog_bytes = 0
        self.sent: list[tuple[int, bytes]] = []
        self.closed = False
        self.now_us = 0

    def send(self, parts: Sequence[bytes]) -> None:
        self.sent.append((self.now_us, b"".join(parts)))

    def close(self) -> None:
        self.closed = True


class Run:
    """One camera played from `at_us` on (after the farm's start) for `seconds`."""

    def __init__(
        self, cache: Path, faults: str = "", *, number: int = 0, at_us: int = 100_000, argv: Sequence[str] = ()
    ):
        fault_options = ["--fault", f"cam/0={faults}"] if faults else []
        options = parse_options([*SMALL, "--clip-cache", str(cache), *argv, *fault_options])
        self.stream = make_streams(options)["main"]
        found = add_faults(Faults(), faults) if faults else Faults()
        self.camera = Camera.placed(number, found, START, self.stream.video)
        self.outlet = Outlet()
        self.feed, self.start = self.play(at_us)

    def play(self, at_us: int, seed: str = "1/0/main/0") -> tuple[Feed, PlayStart]:
        now_us = START.mono_us + at_us
        if self.camera.first_play_us is None:
            self.camera.first_play_us = now_us
        tracks = frozenset({0, 1}) if self.stream.audio else frozenset({0})
        feed = Feed(self.camera, self.stream, self.outlet, tracks)
        return feed, feed.start(now_us, seed)

    def until(self, seconds: float) -> Run:
        """Fire everything due before `seconds` after the farm's start."""
        end_us = START.mono_us + int(seconds * 1_000_000)
        while self.feed.due_us < end_us:
            self.outlet.now_us = self.feed.due_us - START.mono_us
            if self.feed.fire() is None:
                break
        return self

    @property
    def tally(self) -> Tally:
        return self.feed.tally

    def packets(self, channel: int = 0) -> list[Packet]:
        data = b"".join(data for _, data in self.outlet.sent)
        return [Packet.read(found, packet) for found, packet in split_interleaved(data) if found == channel]

    def reports(self, channel: int = 1) -> list[tuple[int, int]]:
        """(NTP, RTP timestamp) of each sender report."""
        data = b"".join(data for _, data in self.outlet.sent)
        found = [packet for where, packet in split_interleaved(data) if where == channel]
        return [(int.from_bytes(p[8:16], "big"), int.from_bytes(p[16:20], "big")) for p in found]

    def markers(self) -> list[Marker]:
        found = []
        for unit in units_of(self.packets(), Codec.H264):
            marker = find_marker(unit.data, Codec.H264)
            assert marker is not None
            assert marker.crc == vcl_crc(unit.data, Codec.H264)
            found.append(marker)
        return found


def is_contiguous(values: list[int], modulus: int) -> bool:
    return all((after - before) % modulus == 1 for before, after in pairwise(values))


def test_a_healthy_camera_counts_by_the_clock(clip_cache: Path) -> None:
    run = Run(clip_cache).until(10)
    markers = run.markers()
    numbers = [marker.number for marker in markers]
    assert numbers == list(range(run.tally.first or 0, 10 * FPS))
    assert run.tally.sent == len(numbers)
    assert [marker.key for marker in markers] == [(number % GOP) == 0 for number in numbers]
    assert [m.utc_us for m in markers] == [START.utc_us + m.number * 1_000_000 // FPS for m in markers]
    assert is_contiguous([packet.seq for packet in run.packets()], 65536)
    assert len({packet.seq for packet in run.packets()}) > 500
    assert [when for when, _ in run.outlet.sent] == [number * 1_000_000 // FPS for number in numbers]


def test_numbers_go_on_across_connections(clip_cache: Path) -> None:
    run = Run(clip_cache).until(2)
    last = run.tally.last or 0
    run.feed, start = run.play(5_000_000, "1/0/main/1")
    run.outlet.sent.clear()
    run.until(6)
    assert run.tally.first == run.markers()[0].number > last + 2 * FPS
    assert start.utc_us == run.markers()[0].utc_us
    assert start.first[0].seq == run.packets()[0].seq


def test_cameras_are_spread_over_interval_and_gop(clip_cache: Path) -> None:
    runs = [Run(clip_cache, number=number) for number in range(40)]
    phases = sorted(run.camera.phase_us for run in runs)
    gaps = [after - before for before, after in pairwise(phases)]
    assert max(gaps) < 3 * 1_000_000 / FPS / 40
    assert {run.camera.key_offset for run in runs} == set(range(GOP))
    assert all(run.until(0.6).markers()[0].key for run in runs)


def test_paced_frames_leave_in_four_pieces_a_millisecond_apart(clip_cache: Path) -> None:
    large = ["--bitrate", "3M"]
    whole = Run(clip_cache, argv=large).until(2)
    paced = Run(clip_cache, argv=[*large, "--pacing", "4"]).until(2)
    assert b"".join(data for _, data in paced.outlet.sent) == b"".join(data for _, data in whole.outlet.sent)
    first = [when for when, _ in paced.outlet.sent][:4]
    assert [when - first[0] for when in first] == [0, 1000, 2000, 3000]
    for _, data in paced.outlet.sent:
        split_interleaved(data)  # each piece ends where a packet ends


def test_a_full_connection_skips_whole_frames_and_counts_them(clip_cache: Path) -> None:
    run = Run(clip_cache).until(1)
    sent = run.tally.sent
    run.outlet.backlog_bytes = feed_module.MAX_BACKLOG_BYTES + 1
    run.until(2)
    assert (run.tally.sent, run.tally.dropped) == (sent, FPS)
    run.outlet.backlog_bytes = 0
    run.until(3)
    assert run.tally.sent == sent + FPS
    assert run.tally.skipped == [[FPS, 2 * FPS - 1]]


def test_loss_is_the_same_for_the_same_seed_and_is_declared(clip_cache: Path) -> None:
    argv = ("--bitrate", "3M")
    one, two = (Run(clip_cache, "loss:5%", argv=argv).until(10) for _ in range(2))
    assert one.tally.lost_frames == two.tally.lost_frames
    assert one.outlet.sent == two.outlet.sent
    other = Run(clip_cache, "loss:5%", argv=argv)
    other.feed, _ = other.play(100_000, "2/0/main/0")
    assert other.until(10).tally.lost_frames != one.tally.lost_frames
    reconnected = Run(clip_cache, "loss:5%", argv=argv)
    reconnected.feed, _ = reconnected.play(100_000, "1/0/main/7")
    assert reconnected.until(10).tally.lost_frames == one.tally.lost_frames, "by frame, not by connection"

    packets = one.packets()
    total = (packets[-1].seq - packets[0].seq) % 65536 + 1
    missing = total - len(packets)
    assert 0 <= one.tally.lost_packets - missing <= 2, "only a loss at the very ends is not seen as a gap"
    assert 0.03 < one.tally.lost_packets / total < 0.07
    touched = set()
    for before, after in pairwise(packets):
        if (after.seq - before.seq) % 65536 > 1:
            touched |= {before.timestamp, after.timestamp}
    assert len(one.tally.lost_frames) <= len(touched)
    assert one.tally.sent == len(range(one.tally.first or 0, 10 * FPS))


def test_a_stall_is_silence_without_lost_packets(clip_cache: Path) -> None:
    run = Run(clip_cache, "stall:2s+1s", argv=["--audio", "pcmu"]).until(6)
    times = [when for when, _ in run.outlet.sent]
    gaps = [(before, after - before) for before, after in pairwise(times) if after - before > 50_000]
    assert len(gaps) == 1
    assert 1_050_000 <= gaps[0][0] < 1_100_000
    assert 2_000_000 <= gaps[0][1] <= 2_000_000 + 2 * GOP * 1_000_000 // FPS
    for channel in (0, 2):
        assert is_contiguous([packet.seq for packet in run.packets(channel)], 65536)
    markers = run.markers()
    after_gap = next(after for before, after in pairwise(markers) if after.number != before.number + 1)
    assert after_gap.key
    assert len(run.tally.skipped) == 1


def test_a_reboot_ends_the_feed_and_starts_rtp_over(clip_cache: Path) -> None:
    run = Run(clip_cache, "reboot:1s+1s").until(9)
    assert run.outlet.closed
    assert run.tally.last is not None
    assert run.tally.last < 1.1 * FPS
    assert run.camera.faults.down(run.camera.since_play_us(START.mono_us + 1_500_000))
    last = run.packets()[-1]
    run.feed, start = run.play(3_000_000, "1/0/main/1")
    assert (start.first[0].seq - last.seq) % 65536 != 1
    run.outlet.sent.clear()
    assert run.until(4).markers()[0].key


def test_parameter_sets_change_in_band_at_a_keyframe(clip_cache: Path) -> None:
    run = Run(clip_cache, "params+1s").until(4)
    units = units_of(run.packets(), Codec.H264)
    sets = [tuple(nal for nal in unit.nals if nal[0] & 0x1F in (7, 8)) for unit in units]
    assert len({found for found in sets if found}) == 2
    changed = next(index for index, found in enumerate(sets) if found and found != sets[0])
    markers = run.markers()
    assert markers[changed].key
    assert 1.0 < markers[changed].number / FPS < 1.5
    assert is_contiguous([marker.number for marker in markers], 1 << 40)
    assert is_contiguous([packet.seq for packet in run.packets()], 65536)
    assert len({b.timestamp - a.timestamp for a, b in pairwise(units)}) == 1


def test_a_clock_step_moves_timestamps_and_reports_together(clip_cache: Path) -> None:
    run = Run(clip_cache, "step:+3600s+3s", argv=["--audio", "aac"]).until(8)
    for channel, rate in ((0, 90_000), (2, 48_000)):
        packets = run.packets(channel)
        steps = [(b.timestamp - a.timestamp) % 2**32 for a, b in pairwise(packets)]
        assert len([step for step in steps if step > 3599 * rate]) == 1
    first, last = run.reports()[0], run.reports()[-1]
    assert (last[0] - first[0]) >> 32 in range(3600, 3610)
    assert (last[1] - first[1]) % 2**32 == pytest.approx(((last[0] - first[0]) / 2**32) * 90_000, abs=2)
    markers = run.markers()
    assert markers[-1].utc_us - markers[0].utc_us < 10_000_000, "the marker tells true time"


def test_drift_is_a_wrong_clock_with_even_steps(clip_cache: Path) -> None:
    run = Run(clip_cache, "drift:5000").until(100)
    packets = run.packets()
    frames = sorted({packet.timestamp for packet in packets})
    assert {b - a for a, b in pairwise(frames)} <= {90_000 // FPS, 2**32 - 90_000 // FPS}
    reports = run.reports()
    claimed_s = (reports[-1][0] - reports[0][0]) / 2**32
    markers = run.markers()
    true_s = (markers[-1].utc_us - markers[0].utc_us) / 1e6
    media_s = len(markers) / FPS
    assert media_s / true_s == pytest.approx(1.005, abs=0.0005)
    assert claimed_s == pytest.approx(98, abs=3)
    assert len(reports) > 45


def test_reports_of_both_tracks_name_one_instant(clip_cache: Path) -> None:
    run = Run(clip_cache, argv=["--audio", "pcmu"], number=3).until(5)
    video, audio = run.reports(1), run.reports(3)
    assert [ntp for ntp, _ in video] == [ntp for ntp, _ in audio]
    assert len(video) == 3
    assert [(b[1] - a[1]) / 90_000 for a, b in pairwise(video)] == [2.0, 2.0]
    assert [(b[1] - a[1]) / 8_000 for a, b in pairwise(audio)] == [2.0, 2.0]
    first = run.markers()[0]
    assert video[0] == (ntp_time(first.utc_us), run.packets()[0].timestamp)


def test_the_scheduler_serves_what_is_due_and_forgets_what_ended(clip_cache: Path) -> None:
    from recorderd.simulate.scheduler import Scheduler

    clock = FakeClock(monotonic_us=START.mono_us)
    scheduler = Scheduler(clock, 1000)
    run = Run(clip_cache, "reboot:1s+1s")
    scheduler._heap.append((run.feed.due_us, 0, run.feed))
    scheduler.run_due(run.feed.due_us - 1)
    assert run.tally.sent == 0
    scheduler.run_due(run.feed.due_us)
    assert run.tally.sent == 1
    scheduler.run_due(START.mono_us + 60_000_000)
    assert run.outlet.closed
    assert not scheduler._heap
    assert scheduler.latest_us > 50_000_000


def test_the_log_is_one_line_of_json() -> None:
    from recorderd.simulate.tally import write_record

    log = io.StringIO()
    write_record(log, Tally().as_json())
    write_record(None, {})
    assert log.getvalue().count("\n") == 1
