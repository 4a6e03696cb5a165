"""A storage that is not there at the start: what is said of its cameras survives the process and is in the ledger, and
in every answer, when it comes."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivers.synthetic.info import SyntheticSettings
from mediadb.read.reader import Reader
from mediadb.types import Cause, State
from recorderd.aio.supervisor import Supervisor
from recorderd.aio.system_clock import SystemClock
from recorderd.config.diff import ReloadPlan
from recorderd.config.schema import CameraConfig, Config, HardwareConfig, StorageConfig
from recorderd.core.clock import FakeClock
from recorderd.daemon import storages as storages_module
from recorderd.daemon.engine_store import EngineStore
from recorderd.daemon.storages import StorageParts, Storages
from recorderd.daemon.waits import StorageWaits
from recorderd.engine.engine import Engine, EngineDeps
from recorderd.engine.registry import Registry
from recorderd.engine.stream import track_id
from recorderd.state.identities import KnownVolume

VOLUME = uuid.UUID(int=77)


class Identities:
    """Of cameras and of the volume that was there before."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}

    async def hardware(self, driver: str, address: str, given: uuid.UUID | None) -> uuid.UUID:
        return uuid.uuid5(VOLUME, address)

    async def camera(self, hardware_id: uuid.UUID, channel: int, given: uuid.UUID | None) -> uuid.UUID:
        return uuid.uuid5(hardware_id, str(channel))

    async def volumes(self) -> dict[str, KnownVolume]:
        return self.known

    async def remember_volume(self, volume: KnownVolume) -> None:
        self.known[volume.name] = volume


class Events:
    def emit(self, code: str, **more: Any) -> None: ...


class Server:
    """Engine and storages of one process."""

    def __init__(self, folder: Path, identities: Identities, tree: Supervisor) -> None:
        self.config = Config(
            storages=(StorageConfig("main", folder / "volume"),),
            hardware=(
                HardwareConfig(
                    "gate", "synthetic", "synthetic://gate", settings=SyntheticSettings(offline=True),
                    cameras=(CameraConfig("gate", storage="main"),),
                ),
            ),
        )  # fmt: skip
        self.stores: dict[str, Any] = {}
        clock = SystemClock()
        deps = EngineDeps(clock, tree, Registry.discover(), self.stores, identities, Events(), jitter=random.Random(1))
        self.engine = Engine(deps)
        data_dir = folder / "data"
        parts = StorageParts(clock, identities, VOLUME, self.engine.listener, Events(), self._came, data_dir)  # type: ignore[arg-type]
        self.storages = Storages(parts, tree)

    async def start(self) -> None:
        await self.storages.start(self.config.storages)
        self._show()
        await self.engine.start(self.config)

    async def stop(self) -> list[str]:
        await self.engine.stop()
        return await self.storages.close(30)

    def _show(self) -> None:
        self.stores.update({name: EngineStore(store) for name, store in self.storages.stores.items()})

    async def _came(self, name: str) -> None:
        self._show()
        await self.engine.apply(ReloadPlan(), self.config)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def waiting(folder: Path) -> list[Path]:
    return list((folder / "data").rglob("*.waiting"))


async def test_statements_of_two_processes_are_in_the_ledger_of_a_volume_that_came_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages_module, "RETRY_S", 0.05)
    identities = Identities()
    identities.known["main"] = KnownVolume("main", VOLUME, str(tmp_path / "volume"), 3)
    async with Supervisor("first") as tree:
        first = Server(tmp_path, identities, tree)
        await first.start()
        camera = first.engine.cameras()[0]
        assert (camera.state, camera.reason) == ("storage-error", "storage-missing")
        await until(lambda: bool(waiting(tmp_path)))
        await first.stop()
    async with Supervisor("second") as tree:
        second = Server(tmp_path, identities, tree)
        await second.start()
        await until(lambda: len(waiting(tmp_path)) == 2)
        identities.known.clear()  # a new disk is given for the lost one
        (tmp_path / "volume").mkdir()
        await until(lambda: "main" in second.stores and second.engine.cameras()[0].reason == "refused")
        assert waiting(tmp_path) == [], "moved into the ledger"
        assert await second.stop() == []
    now_us = SystemClock().utc_us() + 1_000
    reader = Reader.open_offline(tmp_path / "volume", "main", lambda: now_us)
    (info,) = reader.known_tracks()
    assert info.names.camera == "gate"
    assert info.spec.track == track_id(camera.id, "main", info.spec.kind)
    found = reader.coverage([info.spec.track], now_us - 60_000_000, now_us)[info.spec.track]
    words = [(str(one.cause.state), one.cause.reason) for one in found]
    words = [word for word in words if word != ("camera-offline", "connecting")]  # until the storage is asked for
    assert words[:4] == [
        ("not-scheduled", "not-configured"),
        ("storage-error", "storage-missing"),
        ("server-down", "stop"),
        ("storage-error", "storage-missing"),
    ]
    assert ("camera-offline", "refused") in words
    assert words[-1] == ("server-down", "stop")
    assert "unexplained" not in [state for state, _ in words]
    reader.close()


class Kept:
    """A ledger that notes when something was said."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.said_us: list[int] = []

    def add(self, kind: object, time_us: int, body: dict[str, object]) -> None:
        self.said_us.append(self.clock.monotonic_us())

    def flush(self, now_us: int) -> None: ...


@pytest.mark.fast
def test_the_end_of_a_killed_run_is_known_to_a_tenth_of_the_time_its_storage_was_away() -> None:
    clock = FakeClock()
    ledger = Kept(clock)
    waits = StorageWaits(ledger, 7, clock)  # type: ignore[arg-type]
    waits.cover(VOLUME, 0, Cause(State.STORAGE_ERROR, "storage-missing"))
    begun_us = clock.monotonic_us()
    for _ in range(1200):
        clock.advance(1_000_000)
        waits.flush()
        unknown_us, away_us = clock.monotonic_us() - ledger.said_us[-1], clock.monotonic_us() - begun_us
        assert unknown_us <= min(max(away_us // 10, 2_000_000), 60_000_000) + 1_000_000
    assert len(ledger.said_us) < 100, "few words about a storage that is away for long"
