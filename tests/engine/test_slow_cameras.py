"""Cameras that make a picture every few seconds, through a real store: no second of a healthy one is unexplained or
said to be a fault, none of a broken one is recorded."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
from engine_fakes import VIDEO, FakeTrackCommit

from drivers.synthetic import clip
from mediadb.aio import AsyncStore, StoreOptions
from mediadb.movie.long_movie import plan_long
from mediadb.movie.movie import build_movie
from mediadb.mp4.reader import pts_of, read_movie
from mediadb.read.reader import Reader
from mediadb.types import Interval, Names, State, TrackKind
from mediadb.write.commits import CommitInfo
from recorderd.core.clock import FakeClock
from recorderd.daemon.engine_store import EngineStore
from recorderd.driverapi.base import StreamRequest
from recorderd.engine.coverage import STOPPED
from recorderd.engine.stream import StreamParts, StreamRecorder, track_id
from recorderd.media.access_unit import AccessUnit, MediaKind, UnitType

CAMERA, HARDWARE = uuid.uuid4(), uuid.uuid4()
TRACK = track_id(CAMERA, "main", TrackKind.VIDEO)
S = 1_000_000
FAST = [0.04] * 100
GOP = 4


class Quiet:
    """A store's listener that minds nothing but trouble."""

    def committed(self, info: CommitInfo) -> None: ...

    def shed(self, track: uuid.UUID, start_us: int, end_us: int, samples: int, bytes: int) -> None:
        raise AssertionError("nothing is shed here")

    def trouble(self, code: str, params: dict[str, object]) -> None:
        raise AssertionError(code)


class Scene:
    """One camera on a hand-moved clock: committed, ticked and looked at once a second."""

    def __init__(self, volume: Path, clock: FakeClock, store: AsyncStore, announced_fps: float) -> None:
        self.volume, self.clock, self.store = volume, clock, store
        self.start_us = clock.utc_us()
        self.events: list[tuple[str, int]] = []
        self.seen: set[tuple[str, str]] = set()  # states seen while it ran
        self.sent = self._gop_from = 0
        self.ended = False
        self._ticks = round(90_000 / announced_fps) if announced_fps else 0
        self._config = dataclasses.replace(VIDEO, frame_ticks=self._ticks)
        self._next_us = (clock.utc_us() // S + 1) * S
        request = StreamRequest()
        parts = StreamParts(
            CAMERA, HARDWARE, Names("cam", "hw"), EngineStore(store), clock, self._emit, request, True
        )  # fmt: skip
        self.stream = StreamRecorder(parts, 0)
        self.stream.record(True, 0)
        self.stream.opened()

    @classmethod
    async def open(cls, volume: Path, announced_fps: float) -> Scene:
        clock = FakeClock()
        options = StoreOptions(create=True, commit_us=3_600_000_000)
        store = await AsyncStore.open(
            volume, "main", server=uuid.UUID(int=7), clock=clock, options=options, listener=Quiet()
        )
        return cls(volume, clock, store, announced_fps)

    def _emit(self, code: str, params: dict[str, object]) -> None:
        self.events.append((code, (self.clock.utc_us() - self.start_us) // S))

    async def wait(self, seconds: float) -> None:
        """Time passes; what happens once a second happens."""
        until_us = self.clock.utc_us() + round(seconds * S)
        while self._next_us <= until_us:
            self.clock.advance(self._next_us - self.clock.utc_us())
            await self._second()
            self._next_us += S
        self.clock.advance(until_us - self.clock.utc_us())

    async def _second(self) -> None:
        before = self.stream.video.counters.units
        self.stream.tick(self.clock.monotonic_us())
        await self.store.flush()
        if before != self.stream.video.counters.committed_samples:
            new = before - self.stream.video.counters.committed_samples
            self.stream.video.committed(FakeTrackCommit(new, new, self.clock.utc_us()))
        if self.sent:
            self.seen |= words(await self.coverage())

    def picture(self, **values: int) -> None:
        """A picture, made now as the camera counts too."""
        key = (self.sent - self._gop_from) % GOP == 0
        data = clip.read_clip()[0 if key else 1]
        ticks = (self.clock.monotonic_us() - 1) * 9 // 100
        self.stream.unit(
            MediaKind.VIDEO,
            AccessUnit(
                data, ticks, ticks, UnitType.IDR if key else UnitType.DELTA, self.clock.utc_us(),
                self.clock.monotonic_us(), self._config, **values,  # type: ignore[arg-type]
            ),
        )  # fmt: skip
        self.sent += 1

    async def film(self, waits: Sequence[float]) -> None:
        """A picture, then the wait behind it, for each."""
        for seconds in waits:
            self.picture()
            await self.wait(seconds)

    def fail(self, reason: str) -> None:
        self.stream.closed(reason, {})

    def reopen(self) -> None:
        """Another connection: the driver reads the coding anew."""
        self._config, self._gop_from = dataclasses.replace(self._config), self.sent
        self.stream.opened()

    async def coverage(self, start_s: float = 0, end_s: float | None = None) -> list[Interval]:
        begin_us = self.start_us + round(start_s * S)
        end_us = self.clock.utc_us() if end_s is None else self.start_us + round(end_s * S)
        return (await self.store.read(self.store.reader.coverage, [TRACK], begin_us, end_us))[TRACK]

    async def close(self) -> Reader:
        """Stop on purpose; the footage as read without a daemon, an hour later."""
        self.stream.stop(STOPPED, "stopped")
        assert await self.store.close() == []
        later_us = self.clock.utc_us() + 3_600 * S
        return Reader.open_offline(self.volume, "main", lambda: later_us)

    def alarms(self) -> list[int]:
        return [second for code, second in self.events if code == "not-recording"]


def words(intervals: Sequence[Interval]) -> set[tuple[str, str]]:
    return {(str(one.cause.state), one.cause.reason) for one in intervals}


def seconds_of(intervals: Sequence[Interval], state: State, reason: str | None = None) -> float:
    return sum(
        (one.end_us - one.start_us) / S
        for one in intervals
        if one.cause.state is state and reason in (None, one.cause.reason)
    )


GOOD = {("recorded", ""), ("recorded", "not-yet-durable")}


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "unknown"])
@pytest.mark.parametrize("wait_s", [1.5, 2.0, 5.0, 20.0, 60.0])
async def test_a_slow_camera_is_recorded_without_a_word(tmp_path: Path, wait_s: float, announced: bool) -> None:
    scene = await Scene.open(tmp_path, 1 / wait_s if announced else 0)
    await scene.film([wait_s] * 10)
    now = await scene.coverage()
    # An unknown rate is learned from the first distance; beyond 10 s that silence is news before it is over.
    first = 0.0 if announced or wait_s <= 10 else wait_s
    assert words(await scene.coverage(first)) <= GOOD, now
    assert seconds_of(now, State.CAMERA_OFFLINE) <= first
    assert scene.seen <= GOOD | ({("camera-offline", "no-media")} if first else set())
    assert scene.alarms() == ([12] if first else [])
    end_s = 10 * wait_s
    reader = await scene.close()
    done = reader.coverage([TRACK], scene.start_us, scene.start_us + round((end_s + 100) * S))[TRACK]
    assert words(done[-2:]) == {("recorded", ""), ("server-down", "stop")}
    assert abs(done[-2].end_us - scene.start_us - end_s * S) < 0.2 * S, "not beyond the stop"
    if not first:
        assert len(done) == 2
        (span,) = reader.spans(TRACK, scene.start_us, scene.clock.utc_us())
        assert (span.start_us, span.end_us) == (scene.start_us, scene.clock.utc_us())
        _, at, _ = reader.why(TRACK, scene.start_us + round(4.7 * wait_s * S))
        assert at.cause.state is State.RECORDED
    reader.close()


@pytest.mark.parametrize("announced", [0, 0.5, 25], ids=["unknown", "slow", "fast"])
async def test_a_camera_that_slows_down_at_night(tmp_path: Path, announced: float) -> None:
    scene = await Scene.open(tmp_path, announced)
    await scene.film([*FAST, *[2.0] * 20, *FAST, *[5.0] * 10, *FAST])
    now = await scene.coverage()
    assert scene.seen <= GOOD | {("camera-offline", "no-frames")}
    # One pause of each change is taken for a pause: nobody can know yet.
    stated = [one for one in now if one.cause.state is State.CAMERA_OFFLINE]
    assert len(stated) <= 2
    assert seconds_of(now, State.CAMERA_OFFLINE) <= 7
    assert seconds_of(now, State.RECORDED) >= 40 + 50 + 12 - 7.2
    assert scene.alarms() == []
    reader = await scene.close()
    assert not any(one.cause.state is State.UNEXPLAINED for one in reader.coverage([TRACK], 0, 1 << 60)[TRACK])
    reader.close()


@pytest.mark.parametrize("wait_s", [2.0, 20.0])
async def test_every_moment_asked_for_alone_is_recorded(tmp_path: Path, wait_s: float) -> None:
    scene = await Scene.open(tmp_path, 1 / wait_s)
    await scene.film([wait_s] * 6)
    for tenth in range(5, 50, 7):
        at_s = tenth / 10 * wait_s
        assert words(await scene.coverage(at_s, at_s + wait_s / 20)) == {("recorded", "")}
    await scene.close()


@pytest.mark.parametrize("wait_s", [2.0, 20.0])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "unknown"])
async def test_a_slow_camera_that_breaks_off_is_offline_from_then_on(
    tmp_path: Path, wait_s: float, announced: bool
) -> None:
    scene = await Scene.open(tmp_path, 1 / wait_s if announced else 0)
    await scene.film([wait_s] * 6)
    scene.picture()
    await scene.wait(wait_s / 4)
    broke_s = 6.25 * wait_s
    scene.fail("closed")
    await scene.wait(30)
    scene.reopen()
    await scene.film([wait_s] * 6)
    now = await scene.coverage(3 * wait_s)
    assert [one.cause.state for one in now] == [State.RECORDED, State.CAMERA_OFFLINE, State.RECORDED], now
    gone = now[1]
    assert gone.cause.reason == "closed"
    assert abs(gone.start_us - scene.start_us - broke_s * S) < 0.1 * S
    assert abs(gone.end_us - gone.start_us - 30 * S) < 0.1 * S
    reader = await scene.close()
    before, after = reader.spans(TRACK, scene.start_us + round(3 * wait_s * S), scene.clock.utc_us())
    assert after.start_us - before.end_us >= (30 - wait_s) * S, "footage is not said to go on through it"
    for movie in (plan_long, build_movie):
        made = movie(reader, [TRACK], scene.start_us, scene.clock.utc_us())
        assert made is not None
        assert abs(made.duration_us - (12.25 * wait_s + 30) * S) < 0.45 * wait_s * S
    reader.close()


@pytest.mark.parametrize("wait_s", [2.0, 20.0])
async def test_a_short_break_inside_an_interval_is_there(tmp_path: Path, wait_s: float) -> None:
    """The next picture comes when the one before it would still have stood."""
    scene = await Scene.open(tmp_path, 1 / wait_s)
    await scene.film([wait_s] * 5)
    scene.picture()
    await scene.wait(wait_s / 4)
    scene.fail("closed")
    await scene.wait(wait_s / 4)
    scene.reopen()
    await scene.film([wait_s] * 4)
    now = await scene.coverage()
    assert [one.cause.state for one in now] == [State.RECORDED, State.CAMERA_OFFLINE, State.RECORDED]
    assert (now[1].start_us - scene.start_us, now[1].end_us - scene.start_us) == (
        round(5.25 * wait_s * S),
        round(5.5 * wait_s * S),
    )
    reader = await scene.close()
    for movie in (plan_long, build_movie):
        made = movie(reader, [TRACK], scene.start_us, scene.clock.utc_us())
        assert made is not None
        assert made.duration_us == pytest.approx(9.5 * wait_s * S, abs=0.1 * S)
    reader.close()


async def test_what_came_while_recording_was_off_is_not_recorded(tmp_path: Path) -> None:
    scene = await Scene.open(tmp_path, 1 / 20)
    await scene.film([20.0] * 4)
    scene.picture()
    await scene.wait(5.0)
    scene.stream.record(False, 0)
    await scene.wait(15.0)
    await scene.film([20.0] * 3)  # and a keyframe at 160 s, that the prebuffer holds
    scene.picture()
    await scene.wait(5.0)
    scene.stream.record(True, 0)
    await scene.wait(15.0)
    await scene.film([20.0] * 3)
    now = await scene.coverage()
    assert [str(one.cause.state) for one in now] == ["recorded", "not-scheduled", "recorded"], now
    assert (now[1].start_us - scene.start_us, now[1].end_us - scene.start_us) == (85 * S, 160 * S)
    await scene.close()


@pytest.mark.parametrize("wait_s", [2.0, 20.0])
async def test_a_slow_camera_that_falls_silent_is_a_hole_and_an_alarm(tmp_path: Path, wait_s: float) -> None:
    scene = await Scene.open(tmp_path, 1 / wait_s)
    await scene.film([wait_s] * 6)
    assert scene.alarms() == []
    await scene.wait(8 * wait_s + 10)
    silent = await scene.coverage(4 * wait_s)
    assert [(str(one.cause.state), one.cause.reason) for one in silent] == [
        ("recorded", ""),
        ("camera-offline", "no-media"),
    ]
    assert abs(silent[1].start_us - scene.start_us - 6 * wait_s * S) < 0.1 * S
    limit_s = max(10, 3 * wait_s)
    assert len(scene.alarms()) == 1
    assert abs(scene.alarms()[0] - 5 * wait_s - limit_s) <= 2
    await scene.film([wait_s] * 4)
    now = await scene.coverage(4 * wait_s)
    assert [one.cause.state for one in now] == [State.RECORDED, State.CAMERA_OFFLINE, State.RECORDED]
    assert seconds_of(now, State.CAMERA_OFFLINE) == pytest.approx(8 * wait_s + 10, abs=0.2)
    await scene.close()


@pytest.mark.parametrize("announced", [0, 25])
async def test_an_outage_of_a_fast_camera_is_not_taken_for_slowness(tmp_path: Path, announced: float) -> None:
    scene = await Scene.open(tmp_path, announced)
    await scene.film([*FAST[:-1], 4.0, *FAST[:-1], 12.0, *FAST[:-1], 4.0, *FAST])
    now = await scene.coverage()
    assert words(now) <= GOOD | {("camera-offline", "no-frames"), ("camera-offline", "no-media")}
    assert seconds_of(now, State.CAMERA_OFFLINE) == pytest.approx(20, abs=0.5)
    await scene.close()


async def test_lost_pictures_of_a_slow_camera_are_a_hole(tmp_path: Path) -> None:
    scene = await Scene.open(tmp_path, 0)
    await scene.film([2.0] * 8)
    await scene.wait(4.0)
    scene.picture(lost_packets=6)
    await scene.wait(2.0)
    now = await scene.coverage()
    assert seconds_of(now, State.NETWORK_LOSS) == pytest.approx(4.0, abs=0.1)
    assert scene.stream.video.counters.lost_frames == 2
    await scene.close()


async def test_a_recorder_that_dies_between_two_pictures(tmp_path: Path) -> None:
    scene = await Scene.open(tmp_path, 1 / 20)
    await scene.film([20.0] * 4)
    scene.picture()
    await scene.wait(3.0)
    reader = Reader.open_offline(tmp_path, "main", lambda: scene.clock.utc_us() + 3_600 * S)
    done = reader.coverage([TRACK], scene.start_us, scene.start_us + 3_000 * S)[TRACK]
    reader.close()
    assert [(str(one.cause.state), one.cause.reason) for one in done] == [("recorded", ""), ("server-down", "crash")]
    assert 80 * S <= done[0].end_us - scene.start_us <= 84 * S
    await scene.close()


@pytest.mark.parametrize("announced", [0, 0.5, 25], ids=["unknown", "slow", "fast"])
@pytest.mark.parametrize("waits", [[5.0] * 8, [*FAST, *[2.0] * 8, *FAST]], ids=["constant", "changing"])
async def test_exports_show_each_picture_when_it_was_made(tmp_path: Path, announced: float, waits: list[float]) -> None:
    scene = await Scene.open(tmp_path, announced)
    await scene.film(waits)
    reader = await scene.close()
    end_us = scene.clock.utc_us()
    at, made = 0.0, []
    for seconds in waits:
        made.append(round(at * S))
        at += seconds
    long = plan_long(reader, [TRACK], scene.start_us, end_us)
    short = build_movie(reader, [TRACK], scene.start_us, end_us)
    for movie in (long, short):
        assert movie is not None
        raw = b"".join(bytes(piece) for piece in movie.read(reader, 0, movie.total_bytes))
        (track,) = read_movie(lambda at, length, raw=raw: raw[at : at + length], len(raw)).tracks  # type: ignore[misc]
        begin = track.edits[0][1] if track.edits else 0
        shown = sorted({(pts - begin) * S // track.timescale for pts in pts_of(track.samples)})
        near = {round(us / S, 1) for us in shown}
        assert near >= {round(us / S, 1) for us in made}, (sorted(near), made)
        assert max(shown) <= made[-1] + S // 10
        assert abs(movie.duration_us - at * S) < (0.1 + waits[-1] * 0.4) * S, movie.duration_us
    reader.close()
