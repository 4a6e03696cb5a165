"""What must hold however often a storage goes and comes: no descriptor, thread or byte of the budget is left behind,
and nobody waits for a disk that is not his."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import rig
from test_async_store import Ears, TestClock, feed, opened, video
from test_store_away import SOON, Heard, Mount, held_files

from mediadb.aio import AsyncStore
from mediadb.write.budget import Budget

RUN = 77


async def two(tmp_path: Path, budget: Budget) -> tuple[Mount, AsyncStore, AsyncStore, Heard]:
    mount, ears, clock = Mount(tmp_path), Heard(), TestClock()
    options = replace(SOON, run=RUN, budget=budget)
    home = await opened(mount.path, ears, options, clock=clock)
    host = await AsyncStore.open(
        tmp_path / "other", "other", server=rig.SERVER, clock=clock, options=options, listener=Ears()
    )
    home.stand_in(host)
    return mount, home, host, ears


async def test_a_camera_that_was_another_storages_once_is_counted_once(tmp_path: Path) -> None:
    """Its footage went to the storage that now has the other one as fallback: both have met its track."""
    budget = Budget(1 << 20)
    _, home, host, _ = await two(tmp_path, budget)
    old = video(home)
    feed(old, 0, 10)
    await home.flush()
    new = video(host)
    feed(new, 0, 10)
    await host.flush()
    assert budget.held == 0
    assert home.stats()["held_bytes"] == host.stats()["held_bytes"] == 0
    assert old.held == new.held == 0
    assert await home.close() == await host.close() == []


async def test_a_storage_that_is_removed_while_another_one_writes_for_it_is_counted_once(tmp_path: Path) -> None:
    budget = Budget(1 << 20)
    mount, home, host, ears = await two(tmp_path, budget)
    writer = video(home)
    mount.take()
    feed(writer, 0, 10)
    await ears.until(lambda: "moved-to-fallback" in ears.troubles)
    feed(writer, 10, 10)
    home.stand_in(None)
    await home.close()
    await host.flush()
    assert budget.held == 0
    assert host._guests == []
    assert await host.close() == []


async def test_gone_and_back_a_hundred_times(tmp_path: Path) -> None:
    budget = Budget(1 << 24)
    mount, ears = Mount(tmp_path), Heard()
    store = await opened(mount.path, ears, replace(SOON, let_go_us=30_000, retry_us=1_000, budget=budget))
    writer = video(store)
    figures = []
    for turn in range(100):
        said = ears.troubles.count("storage-let-go")
        mount.take()
        feed(writer, turn * 2, 1)
        await ears.until(lambda said=said: ears.troubles.count("storage-let-go") > said)  # type: ignore[misc]
        feed(writer, turn * 2 + 1, 1)
        assert held_files(tmp_path) == []
        mount.give_back()
        await ears.until(lambda turn=turn: writer.committed_samples == 2 * turn + 2)  # type: ignore[misc]
        if turn in (20, 99):
            figures.append((len(os.listdir("/proc/self/fd")), threading.active_count(), budget.held))
    assert figures[1][0] <= figures[0][0] + 4
    assert figures[1][1] <= figures[0][1]
    assert figures[1][2] == 0
    assert await store.close() == []
    assert held_files(tmp_path) == []
    assert rig.numbers(store._own.fs, rig.track_id(0), mount.path) == list(range(200))
