"""A server over the real media database with footage made here: three cameras, real H.264 and AAC, a gap."""

from __future__ import annotations

import fractions
import io
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy
from aiohttp.test_utils import TestClient, TestServer

from mediadb.aio import AsyncStore, StoreOptions
from mediadb.mp4.entries import avc1_entry
from mediadb.types import Cause, Names, Sample, State, TrackConfig, TrackKind, TrackSpec
from recorderd.aio.supervisor import Supervisor
from recorderd.aio.worker_pool import PoolStats
from recorderd.core.clock import FakeClock
from recorderd.core.errors import NotFoundError
from recorderd.engine.live import Item, LiveChannel, LiveHub
from recorderd.engine.sample_entry import track_config
from recorderd.engine.stream import track_id
from recorderd.engine.views import CameraView, HardwareView, RecordingView, StorageView, StreamView, TrackView
from recorderd.media.access_unit import AccessUnit, Codec, CodecConfig, MediaKind, UnitType
from recorderd.media.pipe import PipeMessage
from recorderd.server.deps import ServerDeps, ServerInfo
from recorderd.server.http.app import build_app
from recorderd.services.exports.service import ExportOptions, ExportService
from recorderd.state.database import StateDb
from recorderd.state.events import EventLog
from recorderd.state.jobs import Jobs

S = 1_000_000
T0 = 1_790_000_000 * S
SERVER = uuid.UUID(int=1)
FPS = 10
GOP = 10
CAMERAS = {name: uuid.UUID(int=0x100 + number) for number, name in enumerate(("gate", "yard", "away"))}
HARDWARE = uuid.UUID(int=0x500)


@dataclass(frozen=True)
class Clip:
    """Coded media: (data, pts, dts, key) per sample."""

    config: CodecConfig
    samples: tuple[tuple[bytes, int, int, bool], ...]


def _nals(data: bytes) -> list[bytes]:
    found, at = [], data.find(b"\x00\x00\x01")
    while at >= 0:
        following = data.find(b"\x00\x00\x01", at + 3)
        found.append(data[at + 3 : following if following >= 0 else None].rstrip(b"\x00"))
        at = following
    return found


@cache
def video_clip(frames: int = 100, bframes: int = 0) -> Clip:
    """H.264, 160x96, a key every GOP frames, in MP4 sample form."""
    out = io.BytesIO()
    with av.open(out, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.time_base = fractions.Fraction(1, FPS)
        stream.options = {
            "preset": "ultrafast",
            "x264-params": f"keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes={bframes}",
        }
        packets = []
        for number in range(frames):
            picture = numpy.full((96, 160, 3), (number * 7) % 256, numpy.uint8)
            picture[:, : (number * 3) % 160] = (255, 0, 0)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            packets += stream.encode(frame)
        packets += stream.encode()
        samples, sets = [], {}
        for packet in packets:
            units = _nals(bytes(packet))
            for unit in units:
                if unit[0] & 31 in (7, 8):
                    sets[unit[0] & 31] = unit
            data = b"".join(len(unit).to_bytes(4, "big") + unit for unit in units if unit[0] & 31 not in (7, 8))
            samples.append((data, packet.pts * 9000, packet.dts * 9000, packet.is_keyframe))
    config = CodecConfig(
        Codec.H264, MediaKind.VIDEO, 90_000, 160, 96, parameter_sets=(sets[7], sets[8]), frame_ticks=9000,
        codec_string=f"avc1.{sets[7][1:4].hex()}",
    )  # fmt: skip
    return Clip(config, tuple(samples))


@cache
def audio_clip(seconds: int = 12) -> Clip:
    """AAC, 16 kHz mono."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        packets = []
        for number in range(seconds * 16_000 // 1024):
            wave = (numpy.sin(numpy.arange(1024) * (0.03 + number % 5 * 0.01)) * 0.3).astype(numpy.float32)
            frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, number * 1024
            packets += stream.encode(frame)
        packets += stream.encode()
        extra = stream.codec_context.extradata
        samples = tuple((bytes(p), n * 1024, n * 1024, True) for n, p in enumerate(packets))
    config = CodecConfig(
        Codec.AAC, MediaKind.AUDIO, 16_000, sample_rate=16_000, channels=1, extra=extra, frame_ticks=1024,
        codec_string="mp4a.40.2",
    )  # fmt: skip
    return Clip(config, samples)


class Listener:
    def __init__(self) -> None:
        self.troubles: list[tuple[str, dict[str, object]]] = []

    def committed(self, info: Any) -> None: ...

    def shed(self, *facts: Any) -> None: ...

    def trouble(self, code: str, params: dict[str, object]) -> None:
        self.troubles.append((code, params))


class Source:
    """A LiveSource that tests push into."""

    def __init__(self) -> None:
        self.channel = LiveChannel()
        self.gop: list[Item] = []

    def newest_gop(self) -> list[Item]:
        return self.gop

    def push(self, kind: MediaKind, unit: AccessUnit) -> None:
        for viewer in self.channel.viewers:
            viewer.push(kind, unit)


def units(clip: Clip, start: int, end: int, kind: MediaKind = MediaKind.VIDEO, **changes: Any) -> list[Item]:
    """Access units of a clip, received at their media time after T0."""
    made = []
    for data, pts, dts, key in clip.samples[start:end]:
        at = dts * S // clip.config.timebase_hz
        what = UnitType.AUDIO if kind is MediaKind.AUDIO else UnitType.IDR if key else UnitType.DELTA
        made.append((kind, AccessUnit(data, pts, dts, what, T0 + at, at, changes.get("config", clip.config))))
    return made


class FakeEngine:
    """The engine's views and live hub."""

    def __init__(self) -> None:
        self.live = LiveHub()
        self.sources = {}
        for id in CAMERAS.values():
            for role in ("main", "sub"):
                self.sources[id, role] = Source()
                self.live.offer(id, role, self.sources[id, role])
        self.views = {name: camera_view(name, id) for name, id in CAMERAS.items()}
        away = self.views["away"]
        self.views["away"] = replace(
            away, state="camera-offline", reason="refused", connected=False,
            streams=tuple(replace(stream, connected=False) for stream in away.streams),
        )  # fmt: skip

    def cameras(self) -> list[CameraView]:
        return sorted(self.views.values(), key=lambda view: view.name)

    def camera(self, name_or_id: str) -> CameraView:
        for view in self.views.values():
            if name_or_id in (view.name, str(view.id)):
                return view
        raise NotFoundError(f"no camera is called {name_or_id!r}", camera=name_or_id)

    def hardware(self) -> list[HardwareView]:
        return [
            HardwareView(
                HARDWARE, "box", "synthetic", "synthetic://x", "online", "", "", T0, None, 1, 0, stats={"bytes": 5}
            )
        ]

    def storages(self) -> list[StorageView]:
        return [StorageView("main", "/srv", "ok", "", {}, T0, T0 + S, 12, 0, {"samples": 3})]


def camera_view(name: str, id: uuid.UUID) -> CameraView:
    def track(role: str, kind: TrackKind, codec: str) -> TrackView:
        counters = {"units": 10, "committed_samples": 9, "lost_packets": 2}
        return TrackView(
            track_id(id, role, kind),
            kind.name.lower(),
            codec,
            codec,
            "recorded",
            "",
            T0,
            T0 + 9 * S,
            False,
            100_000,
            counters,
        )

    streams = tuple(
        StreamView(
            role, True, "", "h264", "avc1.42c00b", 160, 96, 10.0, 100_000, 0, 0, 0,
            (track(role, TrackKind.VIDEO, "h264"), track(role, TrackKind.AUDIO, "aac"))[: 2 if role == "main" else 1],
        )
        for role in ("main", "sub")
    )  # fmt: skip
    recording = RecordingView("recorded", "", T0, T0 + 9 * S, False)
    return CameraView(id, name, 0, HARDWARE, "box", "main", "always", "recorded", "", True, recording, streams)


class FakeDecoder:
    """Answers like a pool; remembers what it was asked."""

    def __init__(self) -> None:
        self.stats = PoolStats()
        self.asked: list[tuple[dict[str, Any], bytes]] = []
        self.answer: Any = PipeMessage({"ok": True}, b"\xff\xd8jpeg")

    async def ask(self, head: dict[str, Any], payload: bytes) -> PipeMessage:
        self.asked.append((head, payload))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class Scene:
    """Everything a test looks at."""

    client: TestClient
    deps: ServerDeps
    engine: FakeEngine
    store: AsyncStore
    clock: FakeClock
    decoder: FakeDecoder
    events: EventLog
    listener: Listener
    reloads: list[Any] = field(default_factory=list)

    async def json(self, path: str, status: int = 200) -> Any:
        async with self.client.get(path) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json(content_type=None)

    async def problem(self, path: str, code: str, **options: Any) -> Any:
        async with self.client.get(path, **options) as answer:
            body = await answer.json(content_type="application/problem+json")
            assert (answer.status, body["code"]) == (body["status"], code), body
            return body


async def record(
    store: AsyncStore, camera: str, *, start: int = 0, end: int = 100, audio: bool = True, **more: Any
) -> None:
    """Frames [start, end) of the clip, received from T0 on at their media time, plus `shift_us`."""
    id, shift = CAMERAS[camera], more.get("shift_us", 0)
    video = more.get("clip") or video_clip()
    tracks = [(TrackKind.VIDEO, video, start, end)]
    if audio:
        per_s = 16_000 / 1024
        tracks.append((TrackKind.AUDIO, audio_clip(), round(start / FPS * per_s), round(end / FPS * per_s)))
    for kind, clip, first, last in tracks:
        writer = store.track(TrackSpec(track_id(id, "main", kind), id, HARDWARE, kind, "main"), Names(camera, "box"))
        writer.config(track_config(clip.config))
        first_us = T0 + clip.samples[first][2] * S // clip.config.timebase_hz + shift
        writer.cover(first_us, Cause(State.RECORDED))
        for number, (data, pts, dts, key) in enumerate(clip.samples[first:last]):
            at = T0 + dts * S // clip.config.timebase_hz + shift
            key_type = 5 if kind is TrackKind.AUDIO else 1 if key else 0
            writer.append(Sample(data, pts, dts, key_type, at, discontinuity=number == 0 and bool(more.get("new_run"))))
    await store.flush()


@asynccontextmanager
async def scene(folder: Path, **changes: Any) -> AsyncIterator[Scene]:
    """A running server; `changes` replace members of ServerDeps."""
    clock = FakeClock(T0 + 11 * S)
    listener, engine, decoder, reloads = Listener(), FakeEngine(), FakeDecoder(), []
    options = StoreOptions(commit_us=10**12, slot_us=20_000, create=True, **changes.pop("store", {}))
    store = await AsyncStore.open(
        folder / "volume", "main", server=SERVER, clock=clock, options=options, listener=listener
    )
    db = await StateDb.open(folder / "state.db")
    events = await EventLog.open(db, clock)

    async def reload() -> dict[str, Any]:
        reloads.append(clock.utc_us())
        return {"added": [], "removed": []}

    jobs = Jobs(db, clock)
    async with Supervisor("test") as tree, Supervisor("jobs") as working:
        exports = ExportService(
            jobs, {"main": store}, clock, working, folder / "exports", ExportOptions(reserve_bytes=0)
        )  # fmt: skip
        await exports.start()
        values = dict(
            clock=clock, supervisor=tree, engine=engine, stores={"main": store}, events=events, jobs=jobs,
            exports=exports, data_dir=folder,
            decoder=decoder, info=ServerInfo(SERVER, "hq", "0.1.0", T0), reload=reload,
        )  # fmt: skip
        deps = ServerDeps(**(values | changes))
        async with TestClient(TestServer(build_app(deps))) as client:
            yield Scene(client, deps, engine, store, clock, decoder, events, listener, reloads)
        await exports.stop()
    await store.close()
    await db.close()


def entry_of(clip: Clip) -> bytes:
    sps, pps = clip.config.parameter_sets
    return avc1_entry(160, 96, [sps], [pps])


def stored(clip: Clip) -> TrackConfig:
    return track_config(clip.config)
