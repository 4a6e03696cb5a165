"""Stores, logs, identities and drivers for engine tests: they remember, and do what a test tells them."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from drivers.synthetic import clip
from mediadb.types import Cause, Names, Sample, State, TrackConfig, TrackKind, TrackSpec
from recorderd.aio.supervisor import Supervisor
from recorderd.config.schema import CameraConfig, Config, HardwareConfig, StorageConfig
from recorderd.driverapi.base import HardwareDescription, Sink, StreamRequest
from recorderd.driverapi.errors import DriverError
from recorderd.driverapi.info import DriverInfo
from recorderd.driverapi.testing_fakes import LoopClock
from recorderd.engine.engine import Engine, EngineDeps
from recorderd.engine.registry import Registry
from recorderd.media.access_unit import AccessUnit, MediaKind, UnitType

FRAME_US = 40_000
FRAME_TICKS = 3_600
VIDEO = clip.video_config(clip.read_clip()[0], 25)
AUDIO = clip.audio_config()


class FakeWriter:
    """A TrackWriter that keeps every call."""

    def __init__(self, spec: TrackSpec) -> None:
        self.spec = spec
        self.configs: list[TrackConfig] = []
        self.samples: list[Sample] = []
        self.covers: list[tuple[int, Cause]] = []
        self.gaps: list[tuple[int, int, Cause]] = []
        self.marks: list[tuple[int, str, dict[str, object]]] = []
        self.durable_us: int | None = None
        self.committed = 0

    def config(self, config: TrackConfig) -> None:
        self.configs.append(config)

    def append(self, sample: Sample) -> None:
        self.samples.append(sample)

    def cover(self, time_us: int, cause: Cause) -> None:
        self.covers.append((time_us, cause))

    def gap(self, start_us: int, end_us: int, cause: Cause) -> None:
        self.gaps.append((start_us, end_us, cause))

    def mark(self, time_us: int, code: str, params: dict[str, object]) -> None:
        self.marks.append((time_us, code, params))

    @property
    def states(self) -> list[tuple[State, str]]:
        return [(cause.state, cause.reason) for _, cause in self.covers]


@dataclass
class FakeTrackCommit:
    samples: int
    bytes: int
    last_recv_us: int


@dataclass
class FakeCommit:
    tracks: Mapping[uuid.UUID, FakeTrackCommit]


class FakeStore:
    """A MediaStore; `commit` makes durable what was appended since."""

    away = False

    def __init__(self, known: list[TrackSpec] | None = None) -> None:
        self.writers: dict[uuid.UUID, FakeWriter] = {}
        self.names: dict[uuid.UUID, Names] = {}
        self.known = known or []

    def track(self, spec: TrackSpec, names: Names) -> FakeWriter:
        self.names[spec.track] = names
        return self.writers.setdefault(spec.track, FakeWriter(spec))

    async def known_tracks(self) -> list[TrackSpec]:
        return self.known

    def stats(self) -> dict[str, int]:
        return {}

    def commit(self) -> FakeCommit:
        done = {}
        for track, writer in self.writers.items():
            new = writer.samples[writer.committed :]
            if new:
                writer.committed = len(writer.samples)
                writer.durable_us = new[-1].recv_us + FRAME_US
                done[track] = FakeTrackCommit(len(new), sum(len(s.data) for s in new), new[-1].recv_us)
        return FakeCommit(done)

    def of(
        self, stream: str = "main", kind: TrackKind = TrackKind.VIDEO, camera: uuid.UUID | None = None
    ) -> FakeWriter:
        """The one writer of this stream and kind."""
        found = [
            writer
            for writer in self.writers.values()
            if writer.spec.stream == stream and writer.spec.kind is kind and camera in (None, writer.spec.camera)
        ]
        assert len(found) == 1, f"{len(found)} writers for {stream}/{kind}"
        return found[0]


class FakeEvents:
    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, object]]] = []
        self.hardware: list[uuid.UUID | None] = []

    def emit(
        self,
        code: str,
        *,
        camera: uuid.UUID | None = None,
        hardware: uuid.UUID | None = None,
        params: Mapping[str, object] | None = None,
    ) -> None:
        self.all.append((code, dict(params or {})))
        self.hardware.append(hardware)

    def codes(self) -> list[str]:
        return [code for code, _ in self.all]

    def of(self, code: str) -> list[dict[str, object]]:
        return [params for one, params in self.all if one == code]


class FakeIdentities:
    async def hardware(self, driver: str, address: str, given: uuid.UUID | None) -> uuid.UUID:
        return given or uuid.uuid5(uuid.NAMESPACE_URL, f"{driver} {address}")

    async def camera(self, hardware_id: uuid.UUID, channel: int, given: uuid.UUID | None) -> uuid.UUID:
        return given or uuid.uuid5(hardware_id, str(channel))


@dataclass
class Units:
    """Makes units of one track that continue each other; `skip` leaves frames out."""

    clock: LoopClock
    config: Any = VIDEO
    number: int = 0
    gop: int = 25

    def next(self, key: bool | None = None, **values: Any) -> AccessUnit:
        video = self.config.kind is MediaKind.VIDEO
        is_key = self.number % self.gop == 0 if key is None else key
        kind = (UnitType.IDR if is_key else UnitType.DELTA) if video else UnitType.AUDIO
        pictures = clip.read_clip()
        data = pictures[0 if is_key else 1] if video else clip.tone()
        dts = self.number * self.config.frame_ticks
        self.number += 1
        now, mono = self.clock.utc_us(), self.clock.monotonic_us()
        return AccessUnit(data, dts, dts, kind, now, mono, self.config, **values)

    def skip(self, frames: int) -> None:
        self.number += frames


@dataclass
class Device:
    """A scripted device behind the fake driver: tests change it while the engine runs."""

    connect_error: Exception | None = None
    start_error: dict[str, Exception] = field(default_factory=dict)
    handshake_s: float = 0.0
    attempts: int = 0
    attempt_times: list[float] = field(default_factory=list)
    starts: int = 0
    sinks: dict[str, Sink] = field(default_factory=dict)
    streams: dict[str, FakeStream] = field(default_factory=dict)
    left: int = 0
    connected: int = 0
    auto_media: bool = True  # streams push video by themselves, on time
    units: dict[str, Units] = field(default_factory=dict)
    on_connect: Callable[[Any], None] | None = None

    def lose(self, error: BaseException, role: str = "main") -> None:
        self.streams[role].ended.set_exception(error)


class FakeStream:
    def __init__(self, device: Device, request: StreamRequest, sink: Sink, host: Any) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sink = sink
        self.stopped = 0
        self.task = host.spawn("media", self._media(device, request)) if device.auto_media else None

    async def _media(self, device: Device, request: StreamRequest) -> None:
        units = device.units[request.role]
        while not self.ended.done():
            self.sink.unit(MediaKind.VIDEO, units.next())
            await asyncio.sleep(FRAME_US / 1e6)

    async def wait(self) -> None:
        await asyncio.shield(self.ended)

    async def stop(self) -> None:
        self.stopped += 1
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
        self.ended.cancel()

    def stats(self) -> dict[str, int]:
        return {"units": 1}


class FakeSession:
    def __init__(self, device: Device, host: Any) -> None:
        self.device = device
        self.host = host

    async def describe(self) -> HardwareDescription:
        return HardwareDescription(vendor="Fake", model="F1")

    async def start(self, request: StreamRequest, sink: Sink) -> FakeStream:
        device = self.device
        device.starts += 1
        error = device.start_error.get(request.role)
        if error is not None:
            raise error
        device.sinks[request.role] = sink
        units = Units(self.host.clock)
        device.units[request.role] = units
        stream = device.streams[request.role] = FakeStream(device, request, sink, self.host)
        return stream


class FakeDriver:
    """One Device per address."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}

    def device(self, url: str = "fake://one") -> Device:
        return self.devices.setdefault(url, Device())

    @asynccontextmanager
    async def connect(self, address: Any, settings: Any, host: Any) -> AsyncIterator[FakeSession]:
        device = self.device(address.url)
        device.attempts += 1
        device.attempt_times.append(asyncio.get_running_loop().time())
        if device.handshake_s:
            await asyncio.sleep(device.handshake_s)
        if device.on_connect is not None:
            device.on_connect(host)
        if device.connect_error is not None:
            raise device.connect_error
        device.connected += 1
        try:
            yield FakeSession(device, host)
        finally:
            device.connected -= 1
            device.left += 1


@dataclass(frozen=True)
class FakeSettings:
    x: int = 0


async def no_resolver(host: str, port: int) -> list[str]:
    return [host]


class Rig:
    """An engine with fakes around it; commits once a second like a real store unless `committing` is off."""

    def __init__(self, known: list[TrackSpec] | None = None) -> None:
        self.clock = LoopClock()
        self.store = FakeStore(known)
        self.stores: dict[str, Any] = {"main": self.store}
        self.events = FakeEvents()
        self.driver = FakeDriver()
        self.committing = True
        self.tree = Supervisor("test")
        info = DriverInfo("fake", "Fake", ("fake",), FakeSettings, lambda: self.driver)  # type: ignore[arg-type,return-value]
        self.config = config()
        deps = EngineDeps(
            clock=self.clock,
            supervisor=self.tree,
            registry=Registry([info]),
            stores=self.stores,
            identities=FakeIdentities(),
            events=self.events,
            jitter=random.Random(1),
            resolver=no_resolver,
        )
        self.engine = Engine(deps)

    @property
    def video(self) -> FakeWriter:
        return self.store.of()

    async def start(self, given: Config | None = None) -> None:
        self.config = given or self.config
        await self.engine.start(self.config)
        self.tree.start("commits", self._commit())

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if self.committing:
                self.engine.listener("main").committed(self.store.commit())

    async def stop(self) -> None:
        await self.engine.stop()
        assert await self.tree.stop() == []


def config(*hardware: HardwareConfig) -> Config:
    from pathlib import Path

    return Config(storages=(StorageConfig("main", Path("/nowhere")),), hardware=hardware or (device("one"),))


def device(name: str, camera: CameraConfig | None = None, **values: Any) -> HardwareConfig:
    camera = camera or CameraConfig(name, storage="main")
    made = HardwareConfig(name, "fake", f"fake://{name}", settings=FakeSettings(), cameras=(camera,))
    return replace(made, **values)


def reasons(errors: list[DriverError]) -> list[str]:
    return [error.reason for error in errors]
