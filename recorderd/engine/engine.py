"""The engine: every configured camera recorded, watched and explained.

Law: builds and ends the per-hardware parts, hands words between store and cameras, ticks once a second. It never
blocks and nothing here runs per frame. Built by the composition root; read by the servers through views.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from recorderd.aio.supervisor import Supervisor
from recorderd.config.diff import ReloadPlan
from recorderd.config.schema import CameraConfig, Config, HardwareConfig
from recorderd.core.clock import Clock
from recorderd.core.errors import NotFoundError
from recorderd.engine.camera import Camera, CameraParts
from recorderd.engine.dial import Resolve, resolve
from recorderd.engine.hardware import LEAVE_S, HardwareRunner, Shared
from recorderd.engine.host import Handshakes, Pacing
from recorderd.engine.live import LiveHub
from recorderd.engine.ports import EventLog, Identities, Load, MediaStore
from recorderd.engine.registry import Registry
from recorderd.engine.storage import StorageWatch
from recorderd.engine.track import CLOCK_STEP_US
from recorderd.engine.views import CameraView, HardwareView, StorageView

TICK_S = 1.0
PLAUSIBLE_US = 1_577_836_800_000_000  # 2020: a clock that shows less was never set
STOP_S = 3.0  # for all devices together: the whole server goes down within 5 s


_log = structlog.get_logger("engine")


def _calm() -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class EngineDeps:
    """`stores` holds the opened storages by name when `start` is called (and, after a reload, when `apply` is);
    a configured storage that is not in it is missing: its cameras run, and say so. `load` is the loop's CPU
    share (LoopWatchdog.load); `jitter` and `resolver` are for tests."""

    clock: Clock
    supervisor: Supervisor
    registry: Registry
    stores: Mapping[str, MediaStore]
    identities: Identities
    events: EventLog
    load: Load = _calm
    jitter: random.Random = field(default_factory=random.Random)
    resolver: Resolve = resolve


class _Device:
    """One running hardware with its cameras."""

    def __init__(self, id: uuid.UUID, config: HardwareConfig, cameras: list[Camera], runner: HardwareRunner) -> None:
        self.id = id
        self.config = config
        self.cameras = cameras
        self.runner = runner


class Engine:
    """See the module's law. `live` is where viewers subscribe."""

    def __init__(self, deps: EngineDeps) -> None:
        self.live = LiveHub()
        self._deps = deps
        self._tree = deps.supervisor.child("engine")
        self._devices_tree = self._tree.child("hardware", together=True)
        self._devices: dict[uuid.UUID, _Device] = {}
        self._storages: dict[str, StorageWatch] = {}
        self._shared = Shared(
            clock=deps.clock,
            registry=deps.registry,
            handshakes=Handshakes(deps.jitter),
            jitter=deps.jitter,
            coalesce=Pacing(deps.load).coalesce_us,
            resolver=deps.resolver,
        )
        self._offset_us = deps.clock.utc_us() - deps.clock.monotonic_us()

    # -- life ------------------------------------------------------------------------------------------------

    def listener(self, storage: str, path: str = "") -> StorageWatch:
        """The StoreListener for a storage; ask for it before the store is opened."""
        watch = self._storages.get(storage)
        if watch is None:
            watch = StorageWatch(storage, path, self._deps.clock, self._deps.events)
            self._storages[storage] = watch
        watch.path = path or watch.path
        return watch

    async def start(self, config: Config) -> None:
        """Begin with every camera at once; returns when all are started, not when they answer."""
        self._doubt_clock()
        await self._open_storages(config)
        for hardware in config.hardware:
            await self._add(hardware)
        self._tree.restarting("tick", self._tick, _second_after_second)

    async def apply(self, plan: ReloadPlan, config: Config) -> None:
        """Go over to `config`. What the plan does not name is not touched; hardware that waits after a refused
        password or an unsupported request tries again at once."""
        before = {camera.config.name: (camera.id, device.id) for device, camera in self._owned()}
        opened = await self._open_storages(config)
        by_name = {device.config.name: device for device in self._devices.values()}
        renamed = await self._renamed(plan)
        gone = [by_name[old.name] for old in plan.removed_hardware if old.name in by_name]
        await self._remove([device for device in gone if device.id not in renamed], "camera-removed")
        changed = [(by_name.get(new.name), new) for new in plan.changed_hardware]
        changed += [(self._devices.get(id), new) for id, new in renamed.items()]
        for device, new in changed:
            if device is not None and _connection(device.config) == _connection(new):
                self._apply_in_place(device, new)
            else:
                await self._remove([device] if device is not None else [], "camera-changed")
                await self._add(new)
        for new in plan.added_hardware:
            if new not in renamed.values():
                await self._add(new)
        for device in list(self._devices.values()):
            if any(camera.config.storage in opened for camera in device.cameras):
                await self._end([device], "camera-changed")  # it ran without its storage until now
                await self._add(device.config)  # in the place of the old one: it is never unknown
            device.runner.retry_now()
        self._tell_new_identities(before)

    async def stop(self) -> None:
        """Leave every device, state `server-down (stop)` for every track. The stores are closed afterwards by
        whoever opened them, so these statements become durable."""
        await self._remove(list(self._devices.values()), "server-stopping", STOP_S)
        await self._tree.stop()

    # -- views -----------------------------------------------------------------------------------------------

    def cameras(self) -> list[CameraView]:
        """Every camera, by name."""
        return sorted((camera.view() for camera in self._cameras()), key=lambda view: view.name)

    def camera(self, name_or_id: str) -> CameraView:
        """One camera by name or id. Raises NotFoundError."""
        for camera in self._cameras():
            if name_or_id in (camera.config.name, str(camera.id)):
                return camera.view()
        raise NotFoundError(f"no camera is called {name_or_id!r}: see `recorderctl cameras`", camera=name_or_id)

    def hardware(self) -> list[HardwareView]:
        """Every hardware, by name."""
        return sorted((_hardware_view(device) for device in self._devices.values()), key=lambda view: view.name)

    def storages(self) -> list[StorageView]:
        """Every configured storage, by name."""
        return [self._storages[name].view() for name in sorted(self._storages)]

    @property
    def handshakes_running(self) -> int:
        return self._shared.handshakes.running

    # -- inside ----------------------------------------------------------------------------------------------

    def _owned(self) -> list[tuple[_Device, Camera]]:
        return [(device, camera) for device in self._devices.values() for camera in device.cameras]

    def _cameras(self) -> list[Camera]:
        return [camera for _, camera in self._owned()]

    async def _open_storages(self, config: Config) -> list[str]:
        """Take over stores that were opened since the last look; returns their names."""
        opened = []
        for storage in config.storages:
            watch = self.listener(storage.name, str(storage.path))
            store = self._deps.stores.get(storage.name)
            if store is None or store is watch.store:
                continue
            watch.opened(store)
            opened.append(storage.name)
            self._tree.start(f"known tracks {storage.name}", self._remember(watch, store))
        return opened

    async def _remember(self, watch: StorageWatch, store: MediaStore) -> None:
        """Look up earlier tracks beside recording: a large storage takes its time to be read."""
        specs = await store.known_tracks()
        watch.known_tracks = frozenset(spec.track for spec in specs)
        for camera in self._cameras():
            if camera.storage is watch:
                camera.remember()

    async def _add(self, config: HardwareConfig) -> None:
        """Build a hardware with its cameras and start it."""
        deps = self._deps
        id = await deps.identities.hardware(config.driver, config.address, config.id)
        cameras = [await self._make_camera(id, config, camera) for camera in config.cameras]
        streams = [stream for camera in cameras for stream in camera.streams]
        tree = self._devices_tree.child(config.name)
        runner = HardwareRunner(self._shared, id, config, streams, tree, self._emitter(id))
        self._devices[id] = _Device(id, config, cameras, runner)
        runner.start()

    async def _make_camera(self, hardware: uuid.UUID, config: HardwareConfig, camera: CameraConfig) -> Camera:
        deps, storage = self._deps, self.listener(camera.storage)
        parts = CameraParts(
            id=await deps.identities.camera(hardware, camera.channel, camera.id),
            hardware=hardware,
            clock=deps.clock,
            events=deps.events,
            live=self.live,
            storage=storage,
        )
        return Camera(parts, config, camera)

    async def _remove(self, devices: list[_Device], reason: str, patience_s: float = LEAVE_S) -> None:
        """End these at the same time and forget them."""
        await self._end(devices, reason, patience_s)
        for device in devices:
            self._devices.pop(device.id, None)

    async def _end(self, devices: list[_Device], reason: str, patience_s: float = LEAVE_S) -> None:
        await asyncio.gather(*(device.runner.stop(patience_s) for device in devices))
        for device in devices:
            for camera in device.cameras:
                camera.stop(reason)

    def _apply_in_place(self, device: _Device, new: HardwareConfig) -> None:
        """The connection stays as it is; only names and recording change."""
        device.config = device.runner.config = new
        for camera, config in zip(device.cameras, new.cameras, strict=True):
            camera.apply(new, config)

    async def _renamed(self, plan: ReloadPlan) -> dict[uuid.UUID, HardwareConfig]:
        """Added hardware that is a running one under another name."""
        leaving = {old.name for old in plan.removed_hardware}
        renamed: dict[uuid.UUID, HardwareConfig] = {}
        for new in plan.added_hardware if leaving else ():
            id = await self._deps.identities.hardware(new.driver, new.address, new.id)
            device = self._devices.get(id)
            if device is not None and device.config.name in leaving:
                renamed[id] = new
        return renamed

    def _tell_new_identities(self, before: dict[str, tuple[uuid.UUID, uuid.UUID]]) -> None:
        """A camera kept its name but not its place: what it recorded until now belongs to its old identity. `before`:
        the ids of camera and hardware by the camera's name."""
        for device, camera in self._owned():
            name = camera.config.name
            old, hardware = before.get(name, (camera.id, device.id))
            if camera.id == old or camera.config.id is not None or device.config.id is not None:
                continue
            id, table = (old, "hardware.camera") if hardware in self._devices else (hardware, "hardware")
            message = (
                f"camera {name} gets a new identity because its address changed; "
                f'set id = "{id}" in its [[{table}]] to keep its footage'
            )
            _log.warning("camera-identity-changed", camera=name, message=message)
            params = {"name": name, "before": str(old), "after": str(camera.id), "message": message}
            self._deps.events.emit("camera-identity-changed", camera=camera.id, params=params)

    def _doubt_clock(self) -> None:
        """A machine without a battery begins in 1970: recording does not wait for the time, but it is told."""
        now_us = self._deps.clock.utc_us()
        if now_us < PLAUSIBLE_US:
            _log.warning("clock-implausible", time_us=now_us, message="the clock is not set: see to NTP")
            self._deps.events.emit("clock-implausible", params={"time_us": now_us})

    def _emitter(self, hardware: uuid.UUID) -> Callable[[str, dict[str, object]], None]:
        def emit(code: str, params: dict[str, object]) -> None:
            self._deps.events.emit(code, hardware=hardware, params=params)

        return emit

    async def _tick(self) -> None:
        """Once a second: alarms, rates, the recorder's own clock."""
        clock = self._deps.clock
        before_us = clock.monotonic_us()
        while True:
            await asyncio.sleep(TICK_S)
            now_us = clock.monotonic_us()
            late, before_us = now_us - before_us > 2 * TICK_S * 1e6, now_us
            offset_us = clock.utc_us() - now_us
            step_us, self._offset_us = offset_us - self._offset_us, offset_us
            if abs(step_us) > CLOCK_STEP_US:
                self._deps.events.emit("clock-step", params={"source": "recorder", "delta_us": step_us})
            for camera in () if late else self._cameras():  # we stood still: read first, then call a camera silent
                for stream in camera.streams:
                    stream.tick(now_us)


def _connection(config: HardwareConfig) -> tuple[object, ...]:
    """Everything that needs a new connection or new tracks when it changes."""
    login = (config.driver, config.address, config.username, config.password, config.settings, config.id)
    cameras = tuple(
        (camera.channel, camera.id, camera.audio, camera.storage, tuple((s.role, s.path) for s in camera.streams))
        for camera in config.cameras
    )
    return (*login, cameras)


def _second_after_second() -> Iterator[float]:
    return itertools.repeat(1.0)


def _hardware_view(device: _Device) -> HardwareView:
    status, description = device.runner.status, device.runner.status.description
    return HardwareView(
        id=device.id,
        name=device.config.name,
        driver=device.config.driver,
        address=device.config.address,
        state=status.state,
        reason=status.reason,
        message=status.message,
        since_us=status.since_us,
        retry_us=status.retry_us,
        attempts=status.attempts,
        driver_bugs=device.runner.driver_bugs,
        vendor=description.vendor,
        model=description.model,
        firmware=description.firmware,
        serial=description.serial,
        cameras=tuple(camera.id for camera in device.cameras),
        stats=device.runner.stats(),
    )
