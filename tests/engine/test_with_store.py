"""Engine, synthetic cameras and a real media database: what was sent is there, what is missing is explained."""

from __future__ import annotations

import asyncio
import random
import uuid
from pathlib import Path

from engine_fakes import FakeEvents, FakeIdentities

from drivers.synthetic import clip
from drivers.synthetic.info import SyntheticSettings
from mediadb.aio import AsyncStore, StoreOptions
from mediadb.read.reader import Reader
from mediadb.types import Interval, Kind, State
from recorderd.aio.supervisor import Supervisor
from recorderd.aio.system_clock import SystemClock
from recorderd.config.schema import CameraConfig, Config, HardwareConfig, StorageConfig
from recorderd.daemon.engine_store import EngineStore
from recorderd.engine.engine import Engine, EngineDeps
from recorderd.engine.registry import Registry
from recorderd.engine.views import CameraView, TrackView

SECONDS = 3.0


def synthetic(name: str, record: str = "always", **settings: object) -> HardwareConfig:
    camera = CameraConfig(name, storage="main", record=record)
    given = SyntheticSettings(**settings)  # type: ignore[arg-type]
    return HardwareConfig(name, "synthetic", f"synthetic://{name}", settings=given, cameras=(camera,))


async def record(volume: Path, hardware: list[HardwareConfig]) -> tuple[dict[str, CameraView], FakeEvents]:
    """Run for SECONDS; gives the views just before the stop."""
    clock, events, stores = SystemClock(), FakeEvents(), {}
    async with Supervisor("test") as tree:
        deps = EngineDeps(clock, tree, Registry.discover(), stores, FakeIdentities(), events, jitter=random.Random(1))
        engine = Engine(deps)
        store = await AsyncStore.open(
            volume,
            "main",
            server=uuid.UUID(int=7),
            clock=clock,
            options=StoreOptions(commit_us=250_000, create=True),
            listener=engine.listener("main"),
        )
        stores["main"] = EngineStore(store)
        await engine.start(Config(storages=(StorageConfig("main", volume),), hardware=tuple(hardware)))
        await asyncio.sleep(SECONDS)
        cameras = engine._cameras()
        await engine.stop()
        views = {camera.config.name: camera.view() for camera in cameras}
        assert await store.close() == []
        return views, events


def samples_of(reader: Reader, track: TrackView) -> list[bytes]:
    kinds = (Kind.KEY, Kind.DELTA, Kind.INTRA, Kind.AUDIO)
    return [sample.data for ref in reader.chunks(track.id, 0, 1 << 61, kinds) for sample in reader.read(ref).samples]


def coverage(reader: Reader, track: TrackView, now_us: int) -> list[Interval]:
    return reader.coverage([track.id], now_us - 60_000_000, now_us)[track.id]


def causes(intervals: list[Interval]) -> list[tuple[str, str]]:
    return [(str(one.cause.state), one.cause.reason) for one in intervals]


async def test_what_was_sent_is_stored_and_the_rest_explained(tmp_path: Path) -> None:
    hardware = [
        synthetic("good", fps=50, audio=True),
        synthetic("lossy", fps=50, loss_percent=20.0, seed=3),
        synthetic("breaks", fps=50, fail_after_s=1.0),
        synthetic("never", record="never", fps=50),
        synthetic("gone", offline=True),
    ]
    views, events = await record(tmp_path, hardware)
    # Asked a second later than now: the last sample's end may lie a little ahead of the moment of the stop.
    now_us = SystemClock().utc_us() + 1_000_000
    reader = Reader.open_offline(tmp_path, "main", lambda: now_us)

    video, audio = views["good"].streams[0].tracks
    pictures = clip.read_clip()
    stored = samples_of(reader, video)
    assert len(stored) == video.counters["units"] > 50
    assert stored == [pictures[number % 25] for number in range(len(stored))], "bit for bit, in order"
    assert samples_of(reader, audio) == [clip.tone()] * audio.counters["units"]
    words = causes(coverage(reader, video, now_us))
    assert words[-2:] == [("recorded", ""), ("server-down", "stop")]
    assert {state for state, _ in words} <= {"not-scheduled", "camera-offline", "recorded", "server-down"}
    assert words.count(("recorded", "")) == 1, "one gapless stretch"

    lossy = views["lossy"].streams[0].tracks[0]
    assert len(samples_of(reader, lossy)) == lossy.counters["units"]
    lost = [one for one in coverage(reader, lossy, now_us) if one.cause.state is State.NETWORK_LOSS]
    assert sum(int(str(one.cause.params["frames"])) for one in lost) == lossy.counters["lost_frames"] > 0
    assert lossy.counters["lost_frames"] == lossy.counters["lost_packets"]

    breaks = causes(coverage(reader, views["breaks"].streams[0].tracks[0], now_us))
    assert ("camera-offline", "closed") in breaks
    assert not any(state == "unexplained" for state, _ in breaks)

    assert ("not-scheduled", "record-never") in causes(coverage(reader, views["never"].streams[0].tracks[0], now_us))
    assert samples_of(reader, views["never"].streams[0].tracks[0]) == []
    assert ("camera-offline", "refused") in causes(coverage(reader, views["gone"].streams[0].tracks[0], now_us))
    assert "driver-bug" not in events.codes()
    reader.close()
