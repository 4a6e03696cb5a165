"""What a reload and a stop do to storages that are away, hang or are just being opened: nothing waits for them, nothing
of them is left behind."""

from __future__ import annotations

import asyncio
import threading
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mediadb.aio import AsyncStore
from mediadb.errors import StorageMissing
from recorderd.aio.supervisor import Supervisor
from recorderd.aio.system_clock import SystemClock
from recorderd.config.schema import Config, StorageConfig
from recorderd.daemon import storages as storages_module
from recorderd.daemon.compose import Daemon
from recorderd.daemon.storages import StorageParts, Storages
from recorderd.engine.storage import StorageWatch


class Silent:
    def emit(self, *_: object, **__: object) -> None:
        pass


class Known:
    """Identities: nothing is known, and remembering takes as long as `hold` says."""

    def __init__(self) -> None:
        self.hold: asyncio.Event | None = None
        self.asked = asyncio.Event()

    async def volumes(self) -> dict[str, object]:
        return {}

    async def remember_volume(self, _: object) -> None:
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()


async def came(_: str) -> None:
    pass


def storages(folder: Path, tree: Supervisor, known: Known) -> Storages:
    clock = SystemClock()
    listener = lambda name, path: StorageWatch(name, path, clock, cast("Any", Silent()))  # noqa: E731
    parts = StorageParts(
        clock, cast("Any", known), uuid.UUID(int=1), listener, cast("Any", Silent()), came, folder / "data"
    )
    return Storages(parts, tree)


def config(folder: Path) -> StorageConfig:
    (folder / "video").mkdir(exist_ok=True)
    return StorageConfig("main", folder / "video")


async def test_removing_a_storage_that_hangs_does_not_hang_the_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages_module, "REMOVE_S", 0.05)
    async with Supervisor("test") as tree:
        made = storages(tmp_path, tree, Known())
        await made.start([config(tmp_path)])
        store, hung = made.stores["main"], threading.Event()
        store.thread.do(lambda _: hung.wait(60))
        lost = await asyncio.wait_for(made.remove("main"), 20)
        assert "did not answer" in lost[0]
        assert made.stores == {}
        hung.set()


async def test_a_storage_that_is_removed_while_it_is_opened_is_closed(tmp_path: Path) -> None:
    """At that moment it holds the lock and a thread: adding it again must not find it in use."""
    async with Supervisor("test") as tree:
        known = Known()
        known.hold = asyncio.Event()
        made = storages(tmp_path, tree, known)
        made.add(config(tmp_path))
        await asyncio.wait_for(known.asked.wait(), 30)
        assert await made.remove("main") == []
        known.hold = None
        await made.start([config(tmp_path)])
        assert "main" in made.stores
        assert await made.close(30) == []


async def test_opening_that_is_given_up_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk answers after nobody waits any more."""
    begun, go_on, late = threading.Event(), threading.Event(), threading.Event()
    real = AsyncStore._open_blocking

    def slow(*args: Any) -> None:
        begun.set()
        go_on.wait(60)
        real(*args)
        late.set()

    monkeypatch.setattr(AsyncStore, "_open_blocking", slow)
    async with Supervisor("test") as tree:
        made = storages(tmp_path, tree, Known())
        made.add(config(tmp_path))
        await asyncio.get_running_loop().run_in_executor(None, begun.wait, 30)
        assert await asyncio.wait_for(made.remove("main"), 20) == []
        monkeypatch.undo()
        go_on.set()
        await asyncio.get_running_loop().run_in_executor(None, late.wait, 30)
        monkeypatch.setattr(storages_module, "RETRY_S", 0.05)
        made.add(config(tmp_path))
        async with asyncio.timeout(30):
            while "main" not in made.stores:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await made.close(30) == []


async def test_a_reload_does_not_fail_because_a_storage_is_away() -> None:
    """How much other limits would delete there is not known, and no reason to refuse them."""

    async def read(*_: object) -> object:
        raise StorageMissing("away")

    old = Config(*[cast("Any", SimpleNamespace())] * 5, (StorageConfig("main", Path("/v"), retention_us=9),), ())
    new = Config(*[cast("Any", SimpleNamespace())] * 5, (StorageConfig("main", Path("/v"), retention_us=5),), ())
    store = SimpleNamespace(read=read, reclaim=SimpleNamespace(plan=None))
    daemon = SimpleNamespace(
        engine=SimpleNamespace(cameras=list),
        reloader=SimpleNamespace(config=old),
        storages=SimpleNamespace(stores={"main": store}),
    )
    assert await Daemon._deletes(cast("Any", daemon), new) == {}
