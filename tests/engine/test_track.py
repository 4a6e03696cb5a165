"""One track: every irregularity becomes the right statement, silence becomes an alarm."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import pytest
from engine_fakes import AUDIO, FRAME_US, VIDEO, FakeStore, FakeTrackCommit, FakeWriter, Units

from mediadb.types import Cause, Names, State, TrackKind, TrackSpec
from recorderd.core.clock import FakeClock
from recorderd.engine.track import TrackRecorder

pytestmark = pytest.mark.fast

CAMERA, HARDWARE = uuid.uuid4(), uuid.uuid4()


class Bench:
    """A TrackRecorder on a hand-moved clock; `play` feeds frames on time."""

    def __init__(self, kind: TrackKind = TrackKind.VIDEO) -> None:
        self.clock = FakeClock()
        self.store = FakeStore()
        self.events: list[tuple[str, dict[str, object]]] = []
        spec = TrackSpec(uuid.uuid4(), CAMERA, HARDWARE, kind)
        self.units = Units(self.clock, VIDEO if kind is TrackKind.VIDEO else AUDIO)  # type: ignore[arg-type]
        self.track = TrackRecorder(spec, Names("cam", "hw"), self.store, self.clock, self._emit)
        self.writer: FakeWriter = self.store.writers[spec.track]

    def _emit(self, code: str, params: dict[str, object]) -> None:
        self.events.append((code, params))

    def play(self, frames: int = 1, **values: Any) -> None:
        for _ in range(frames):
            self.track.unit(self.units.next(**values))
            self.clock.advance(FRAME_US)

    def lose(self, frames: int) -> None:
        self.units.skip(frames)
        self.clock.advance(frames * FRAME_US)

    def seconds(self, count: int, online: bool = True) -> None:
        for _ in range(count):
            self.clock.advance(1_000_000)
            self.track.tick(self.clock.monotonic_us(), online)

    def commit(self) -> None:
        self.track.committed(FakeTrackCommit(5, 100, self.clock.utc_us()))


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.track.record(True)
    return made


def test_units_become_samples_untouched(bench: Bench) -> None:
    unit = bench.units.next(cam_us=5, lost_packets=0)
    bench.track.unit(unit)
    sample = bench.writer.samples[0]
    assert sample.data is unit.data
    assert (sample.pts, sample.dts, sample.key_type, sample.recv_us, sample.cam_us) == (0, 0, 1, unit.recv_us, 5)
    assert not sample.discontinuity
    assert len(bench.writer.configs) == 1
    assert bench.writer.configs[0].sample_entry[4:8] == b"avc1"


def test_nothing_is_recorded_before_a_key(bench: Bench) -> None:
    bench.units.skip(3)
    bench.play(22)
    assert bench.writer.samples == []
    assert bench.track.counters.units_before_key == 22
    assert bench.track.cause.state is State.CAMERA_OFFLINE
    bench.play(1)
    assert bench.track.cause.state is State.RECORDED


@pytest.mark.parametrize(
    ("dropped", "state", "reason"),
    [(17, State.OVERLOAD_SHED, "receive-buffer"), (2, State.NETWORK_LOSS, "packets-lost")],
)
def test_what_was_dropped_on_this_machine_is_no_fault_of_the_network(
    bench: Bench, dropped: int, state: State, reason: str
) -> None:
    bench.play(10)
    bench.lose(4)
    bench.track.dropped_here({"kind": "audio", "packets": 99})
    bench.track.dropped_here({"kind": "video", "packets": dropped})
    bench.play(1, lost_packets=17)
    bench.lose(4)
    bench.play(1, lost_packets=5)
    params = {"packets": 17, "frames": 4, "dropped_here": dropped}
    assert [gap[2] for gap in bench.writer.gaps] == [
        Cause(state, reason, params),
        Cause(State.NETWORK_LOSS, "packets-lost", {"packets": 5, "frames": 4}),
    ]
    assert bench.track.counters.lost_packets == 22


def test_lost_frames_are_a_stated_hole(bench: Bench) -> None:
    bench.play(10)
    last_us = bench.writer.samples[-1].recv_us
    bench.lose(4)
    bench.play(1, lost_packets=17)
    assert bench.writer.gaps == [
        (
            last_us + FRAME_US,
            last_us + 5 * FRAME_US,
            Cause(State.NETWORK_LOSS, "packets-lost", {"packets": 17, "frames": 4}),
        )
    ]
    assert bench.writer.samples[-1].lost_packets == 17
    assert bench.track.counters.lost_frames == 4


def test_loss_inside_a_frame_is_damage_not_a_hole(bench: Bench) -> None:
    bench.play(10)
    bench.play(1, lost_packets=2, damaged=True)
    assert bench.writer.gaps == []
    assert bench.writer.samples[-1].damaged
    assert bench.writer.samples[-1].lost_packets == 2
    assert bench.track.cause.state is State.RECORDED


def test_loss_without_a_unit_is_carried_by_the_next(bench: Bench) -> None:
    bench.play(5)
    bench.track.loss(9)
    bench.lose(1)
    bench.play(2)
    assert [sample.lost_packets for sample in bench.writer.samples[-2:]] == [9, 0]
    assert bench.writer.gaps[0][2].params == {"packets": 9, "frames": 1}


def test_jitter_is_no_hole(bench: Bench) -> None:
    bench.play(10)
    bench.clock.advance(3 * FRAME_US)
    bench.play(10)
    assert bench.writer.gaps == []


def test_a_camera_that_pauses_by_itself_is_explained(bench: Bench) -> None:
    bench.play(10)
    bench.lose(100)
    bench.play(1)
    assert [(cause.state, cause.reason) for _, _, cause in bench.writer.gaps] == [(State.CAMERA_OFFLINE, "no-frames")]


def test_frame_interval_is_observed_when_the_config_is_silent(bench: Bench) -> None:
    bench.units.config = dataclasses.replace(VIDEO, frame_ticks=0)
    for number in range(50):
        unit = bench.units.next()
        unit.dts = number * 3_600
        bench.track.unit(unit)
        bench.clock.advance(FRAME_US)
    assert bench.track.interval_us == FRAME_US
    assert bench.writer.gaps == []


def test_half_the_declared_rate_is_learnt(bench: Bench) -> None:
    bench.play(5)
    for _ in range(100):
        bench.lose(1)
        bench.play(1)
    assert bench.track.interval_us == pytest.approx(2 * FRAME_US, rel=0.02)
    assert bench.writer.gaps == []
    bench.lose(3)
    bench.play(1, lost_packets=1)
    assert bench.writer.gaps[0][2].params == {"packets": 1, "frames": 1}


def test_offline_begins_where_the_last_frame_ended(bench: Bench) -> None:
    bench.play(10)
    end_us = bench.writer.samples[-1].recv_us + FRAME_US
    bench.clock.advance(5_000_000)
    bench.track.offline("stall", {})
    assert bench.writer.covers[-1] == (end_us, Cause(State.CAMERA_OFFLINE, "stall", {}))
    bench.track.offline("stall", {})
    assert len(bench.writer.covers) == 3, "the same state is not written again"
    bench.track.offline("refused", {})
    assert bench.writer.covers[-1][1].reason == "refused"
    bench.units.number = 0
    bench.play(1)
    assert bench.writer.states[-1] == (State.RECORDED, "")
    assert bench.writer.covers[-1][0] == bench.writer.samples[-1].recv_us


def test_another_connection_never_continues_the_last_one(bench: Bench) -> None:
    """However short the break: without the seam, its time would look like a camera that made fewer pictures."""
    bench.play(25)
    bench.track.offline("closed", {})
    bench.clock.advance(400_000)
    bench.track.online()
    bench.play(25)
    assert [number for number, sample in enumerate(bench.writer.samples) if sample.discontinuity] == [25]


@pytest.mark.parametrize("step_us", [3_600_000_000, -3_600_000_000, 600_000])
def test_recorder_clock_step_is_stated_and_starts_a_new_clock_run(bench: Bench, step_us: int) -> None:
    bench.play(10)
    before_us = bench.writer.samples[-1].recv_us
    bench.clock.step(step_us)
    bench.play(2)
    start_us, end_us, cause = bench.writer.gaps[0]
    assert (cause.state, cause.reason, cause.params) == (State.CLOCK_STEP, "recorder", {"delta_us": step_us})
    assert end_us == bench.writer.samples[10].recv_us
    assert start_us < end_us
    if step_us > 0:
        assert start_us == before_us + FRAME_US
    assert [sample.discontinuity for sample in bench.writer.samples[9:]] == [False, True, False]
    assert bench.writer.marks[0][1] == "clock-step"


def test_slow_slewing_is_no_step(bench: Bench) -> None:
    for _ in range(100):
        bench.clock.step(20_000)
        bench.play(1)
    assert bench.writer.gaps == []


def test_camera_clock_step_is_stated_at_the_seam(bench: Bench) -> None:
    bench.play(10)
    bench.track.camera_clock_step(3_600_000_000)
    bench.units.number = 1_000_000
    bench.play(1, key=True, discontinuity=True)
    start_us, end_us, cause = bench.writer.gaps[0]
    assert (cause.state, cause.reason) == (State.CLOCK_STEP, "camera")
    assert cause.params == {"delta_us": 3_600_000_000}
    assert start_us < end_us == bench.writer.samples[-1].recv_us
    assert bench.writer.samples[-1].discontinuity


def test_camera_clock_step_may_be_said_after_its_unit(bench: Bench) -> None:
    bench.play(10)
    bench.play(1, discontinuity=True)
    bench.track.camera_clock_step(5)
    assert [cause.reason for _, _, cause in bench.writer.gaps] == ["camera"]


def test_never_is_not_scheduled_and_never_alarms(bench: Bench) -> None:
    bench.track.record(False)
    bench.play(50)
    bench.track.offline("closed", {})
    bench.seconds(60)
    assert bench.writer.samples == []
    assert bench.writer.states[-1] == (State.NOT_SCHEDULED, "record-never")
    assert bench.events == []


def test_storage_error_holds_until_recovered(bench: Bench) -> None:
    bench.play(10)
    bench.writer.durable_us = bench.writer.samples[4].recv_us
    error = Cause(State.STORAGE_ERROR, "EIO")
    bench.track.storage(error)
    assert bench.writer.covers[-1] == (bench.writer.samples[4].recv_us, error)
    bench.play(10)
    assert len(bench.writer.samples) == 20, "what the store can hold in memory may still be written"
    bench.track.storage(None)
    assert bench.writer.states[-1] == (State.RECORDED, "")


def test_reconnecting_during_storage_trouble_is_not_called_recorded(bench: Bench) -> None:
    bench.track.storage(Cause(State.STORAGE_ERROR, "EIO"))
    bench.play(1)
    assert bench.track.cause.state is State.STORAGE_ERROR


def test_alarm_fires_on_commits_not_on_units(bench: Bench) -> None:
    """Units arrive all the time; nothing becomes durable."""
    for _ in range(11):
        bench.play(25)
        bench.track.tick(bench.clock.monotonic_us(), True)
    assert [code for code, _ in bench.events] == ["not-recording"]
    assert bench.events[0][1]["state"] == "recorded"
    assert bench.track.alarm.active
    bench.commit()
    assert [code for code, _ in bench.events] == ["not-recording", "recording-resumed"]
    assert not bench.track.alarm.active


def test_alarm_waits_ten_seconds_and_fires_once(bench: Bench) -> None:
    bench.seconds(10)
    assert bench.events == []
    bench.seconds(60)
    assert [code for code, _ in bench.events] == ["not-recording"]
    assert (bench.events[0][1]["state"], bench.events[0][1]["reason"]) == ("camera-offline", "no-media")


def test_alarm_waits_three_frames_of_a_slow_camera() -> None:
    bench = Bench()
    bench.track.record(True)
    bench.units.config = dataclasses.replace(VIDEO, frame_ticks=90_000 * 20)
    for _ in range(4):
        bench.track.unit(bench.units.next(key=True))
        bench.commit()
        bench.seconds(20)
    assert bench.events == []
    bench.seconds(39)
    assert bench.events == []
    bench.seconds(3)
    assert [code for code, _ in bench.events] == ["not-recording"]


def test_announced_audio_that_never_comes_is_an_alarm() -> None:
    bench = Bench(TrackKind.AUDIO)
    bench.track.record(True)
    bench.seconds(60)
    assert bench.events == [], "a camera without audio is no alarm"
    bench.track.expected = True
    bench.seconds(2)
    assert [code for code, _ in bench.events] == ["not-recording"]
    assert bench.events[0][1]["track"] == "audio"
    assert bench.writer.states[-1] == (State.CAMERA_OFFLINE, "no-media")


def test_silence_on_an_open_stream_ends_without_waiting_for_a_key(bench: Bench) -> None:
    bench.play(10)
    bench.seconds(12)
    assert bench.writer.states[-1] == (State.CAMERA_OFFLINE, "no-media")
    bench.play(1)
    assert len(bench.writer.samples) == 11, "the stream was never closed: what comes next continues it"
    assert bench.writer.states[-1] == (State.RECORDED, "")


def test_another_config_goes_to_the_store(bench: Bench) -> None:
    bench.play(3)
    bench.units.config = dataclasses.replace(VIDEO, width=640)
    bench.play(3, key=True)
    assert [config.width for config in bench.writer.configs] == [VIDEO.width, 640]


def test_unusable_config_is_explained(bench: Bench) -> None:
    bench.units.config = dataclasses.replace(VIDEO, parameter_sets=())
    bench.play(30)
    assert bench.writer.samples == []
    assert bench.track.counters.unusable_units == 30
    assert bench.writer.states[-1] == (State.CAMERA_OFFLINE, "unusable-config")
    bench.units.config = VIDEO
    bench.units.number = 25
    bench.play(1)
    assert bench.track.cause.state is State.RECORDED


def test_loss_events_are_summed_up(bench: Bench) -> None:
    for _ in range(30):
        bench.play(1)
        bench.lose(1)
        bench.play(23, lost_packets=1)
        bench.track.tick(bench.clock.monotonic_us(), True)
        bench.commit()
    events = [params for code, params in bench.events if code == "network-loss"]
    assert len(events) == 1
    bench.seconds(61)
    total = sum(int(str(params["packets"])) for code, params in bench.events if code == "network-loss")
    assert total == bench.track.counters.lost_packets


def test_prebuffer_is_written_when_recording_begins() -> None:
    bench = Bench()
    bench.track.record(False)
    held = []
    for _ in range(50):
        unit = bench.units.next()
        held.append(unit)
        bench.track.unit(unit)
        bench.clock.advance(FRAME_US)
    bench.track.record(True, time_us=held[0].recv_us)
    bench.track.replay(held)
    assert [sample.recv_us for sample in bench.writer.samples] == [unit.recv_us for unit in held]
    assert bench.writer.covers[-1] == (held[0].recv_us, Cause(State.RECORDED))
    assert bench.track.counters.units == 50
