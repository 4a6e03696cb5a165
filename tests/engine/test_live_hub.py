"""Viewers: start at a key, share the unit objects, fall behind without harm to anybody."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from engine_fakes import AUDIO, FRAME_US, Rig, Units

from drivers.synthetic import clip
from recorderd.core.clock import FakeClock
from recorderd.core.errors import NotFoundError
from recorderd.engine.live import SKIPS_UNTIL_DROPPED, LiveChannel, LiveHub, LiveSubscription
from recorderd.engine.prebuffer import PrebufferRing
from recorderd.media.access_unit import AccessUnit, MediaKind

pytestmark = pytest.mark.fast


class Feed:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.units = Units(self.clock)  # type: ignore[arg-type]
        self.channel = LiveChannel()

    def play(self, frames: int) -> list[AccessUnit]:
        made = []
        for _ in range(frames):
            unit = self.units.next()
            for viewer in self.channel.viewers:
                viewer.push(MediaKind.VIDEO, unit)
            made.append(unit)
            self.clock.advance(FRAME_US)
        return made


async def take(viewer: LiveSubscription, count: int) -> list[AccessUnit]:
    return [(await anext(viewer))[1] for _ in range(count)]


async def test_viewers_share_the_very_objects() -> None:
    feed = Feed()
    one, two = (feed.channel.subscribe([], True, 1 << 20) for _ in range(2))
    units = feed.play(3)
    assert await take(one, 3) == units
    assert await take(two, 3) == units


async def test_slow_viewer_is_skipped_to_a_key_and_others_lose_nothing() -> None:
    feed = Feed()
    fast = feed.channel.subscribe([], True, 1 << 30)
    key, delta = clip.read_clip()[:2]
    slow = feed.channel.subscribe([], True, len(key) + 5 * len(delta))  # overflows in the middle of a GOP
    units = []
    for _ in range(103):
        units += feed.play(1)
        assert not slow._queue or slow._queue[0][1].is_key, "what waits begins at a key"
    assert await take(fast, 103) == units
    got = slow.take_ready()
    assert slow.skips >= 1
    assert got[0][1].is_key, "after a skip a viewer starts again at a key"
    numbers = [unit.dts for _, unit in got]
    assert numbers == list(range(numbers[0], numbers[0] + 3_600 * len(numbers), 3_600))
    assert slow.skipped_units + len(got) == 103


async def test_viewer_that_stays_behind_is_dropped_with_a_reason() -> None:
    feed = Feed()
    slow = feed.channel.subscribe([], True, 1_500)
    feed.play(25 * 4 * SKIPS_UNTIL_DROPPED)
    assert slow.reason == "too-slow"
    assert feed.channel.viewers == []
    with pytest.raises(StopAsyncIteration):
        await anext(slow)


async def test_viewer_that_catches_up_is_kept() -> None:
    feed = Feed()
    viewer = feed.channel.subscribe([], True, 1_500)
    for _ in range(10 * SKIPS_UNTIL_DROPPED):
        feed.play(100)
        viewer.take_ready()
    assert viewer.skips >= SKIPS_UNTIL_DROPPED
    assert viewer.reason is None


async def test_memory_of_a_stuck_viewer_is_bounded() -> None:
    feed = Feed()
    viewer = feed.channel.subscribe([], True, 4_000)
    for _ in range(40):
        feed.play(5)
        assert sum(len(unit.data) for _, unit in viewer._queue) <= 4_000


async def test_waiting_viewer_wakes_up_and_ends_when_closed() -> None:
    feed = Feed()
    viewer = feed.channel.subscribe([], True, 1 << 20)
    first = asyncio.ensure_future(anext(viewer))
    await asyncio.sleep(0)
    feed.play(1)
    assert (await first)[1].is_key
    rest = asyncio.ensure_future(anext(viewer, None))
    await asyncio.sleep(0)
    viewer.close()
    assert await rest is None
    assert viewer.reason == "unsubscribed"
    viewer.close("camera-removed")
    assert viewer.reason == "unsubscribed"


async def test_audio_is_left_out_when_not_wanted() -> None:
    channel = LiveChannel()
    viewer = channel.subscribe([], False, 1 << 20)
    viewer.push(MediaKind.AUDIO, Units(FakeClock(), AUDIO).next())  # type: ignore[arg-type]
    assert viewer.take_ready() == []


async def test_audio_only_viewer_does_not_wait_for_a_key() -> None:
    viewer = LiveChannel().subscribe([], True, 400)
    units = Units(FakeClock(), AUDIO)  # type: ignore[arg-type]
    for _ in range(10):
        viewer.push(MediaKind.AUDIO, units.next())
    assert viewer.take_ready()


def test_unknown_stream_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        LiveHub().subscribe(uuid.uuid4())


@pytest.mark.looptime
async def test_live_starts_at_the_newest_key_and_is_watched(rig: Rig) -> None:
    await rig.start()
    await asyncio.sleep(10.3)
    camera = rig.engine.camera("one").id
    sink = rig.driver.device().sinks["main"]
    assert not sink.watched()
    viewer = rig.engine.live.subscribe(camera, "main")
    assert sink.watched()
    assert rig.engine.live.viewers(camera) == 1
    got = await take(viewer, 30)
    assert got[0].is_key
    assert [unit.dts for unit in got] == [got[0].dts + 3_600 * n for n in range(30)]
    stored = {id(sample.data) for sample in rig.video.samples}
    assert all(id(unit.data) in stored for unit in got), "viewer and store share one bytes object"
    viewer.close()
    assert not sink.watched()
    other = rig.engine.live.subscribe(camera, "main")
    await rig.engine.stop()
    assert other.reason == "server-stopping"


class TestPrebuffer:
    def ring(self, duration_us: int, limit_bytes: int = 1 << 30) -> tuple[PrebufferRing, Units, FakeClock]:
        clock = FakeClock()
        return PrebufferRing(duration_us, limit_bytes), Units(clock), clock  # type: ignore[arg-type]

    def fill(self, ring: PrebufferRing, units: Units, clock: FakeClock, frames: int) -> None:
        for _ in range(frames):
            ring.push(MediaKind.VIDEO, units.next())
            clock.advance(FRAME_US)

    def test_zero_keeps_the_newest_gop_only(self) -> None:
        ring, units, clock = self.ring(0)
        self.fill(ring, units, clock, 60)
        held = [unit for _, unit in ring.all()]
        assert held[0].is_key
        assert len(held) == 10
        assert ring.newest_gop() == list(ring.all())

    def test_reaches_back_the_duration_by_whole_gops(self) -> None:
        ring, units, clock = self.ring(5_000_000)
        for _ in range(20):
            self.fill(ring, units, clock, 25)
            assert next(ring.all())[1].is_key
            assert ring.duration_us <= 7_000_000
        assert ring.duration_us >= 5_000_000

    def test_bytes_are_bounded_and_exact(self) -> None:
        ring, units, clock = self.ring(60_000_000, 10_000)
        for _ in range(60):
            self.fill(ring, units, clock, 10)
            assert ring.bytes == sum(len(unit.data) for _, unit in ring.all()) <= 10_000
        assert ring.duration_us > 0

    def test_gop_larger_than_the_limit_is_not_kept(self) -> None:
        ring, units, clock = self.ring(0, 100)
        self.fill(ring, units, clock, 30)
        assert list(ring.all()) == []
        assert ring.overflows == 2

    def test_nothing_before_the_first_key(self) -> None:
        ring, units, clock = self.ring(0)
        units.skip(5)
        self.fill(ring, units, clock, 10)
        assert list(ring.all()) == []

    def test_audio_goes_with_its_gop(self) -> None:
        ring, units, clock = self.ring(0)
        sound = Units(clock, AUDIO)  # type: ignore[arg-type]
        for _ in range(30):
            self.fill(ring, units, clock, 1)
            ring.push(MediaKind.AUDIO, sound.next())
        assert [kind for kind, _ in ring.all()] == [MediaKind.VIDEO, MediaKind.AUDIO] * 5

    def test_stream_of_audio_alone_keeps_the_duration(self) -> None:
        ring, _, clock = self.ring(1_000_000)
        sound = Units(clock, AUDIO)  # type: ignore[arg-type]
        for _ in range(200):
            ring.push(MediaKind.AUDIO, sound.next())
            clock.advance(20_000)
        assert 1_000_000 <= ring.duration_us <= 1_040_000
