"""What must hold however often a storage goes and comes: no descriptor, thread or byte of the budget is left behind,
and nobody waits for a disk that is not his."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import rig
from test_async_store import Ears, TestClock, feed, opened, video
from test_store_away import SOON, Heard, Mount, held_files
from test_store_fallback import stored

from mediadb.aio import AsyncStore
from mediadb.fs import RealFs
from mediadb.lodging import Place
from mediadb.tools.verify import verify_volume
from mediadb.write.budget import Budget

RUN = 77


async def soon(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


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
    assert len(host._guests) == 0
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


async def test_a_read_that_hangs_does_not_stop_the_loop_at_the_close(tmp_path: Path) -> None:
    store = await opened(tmp_path, Ears())
    hung = threading.Event()
    reading = store.read_ahead(hung.wait, 20)
    await store.read(int)
    await asyncio.wait_for(store.close(), 10)
    assert not reading.done()
    hung.set()


async def test_a_guest_whose_disk_hangs_on_the_way_out_does_not_hold_up_its_host(tmp_path: Path) -> None:
    """Its last commits are being handed over when the host closes: they stay with the guest."""
    mount, home, host, ears = await two(tmp_path, Budget(1 << 24))
    writer, others = video(home), video(host, 9)
    feed(writer, 0, 10)
    await home.flush()
    mount.take()
    feed(writer, 10, 10)
    await ears.until(lambda: "storage-missing" in ears.reasons)
    hung = threading.Event()
    home._thread.do(lambda _: hung.wait(30))
    await soon(lambda: home._lodging.place is Place.LEAVING)
    feed(writer, 20, 5)
    feed(others, 0, 10)
    home.stand_in(None)
    assert await asyncio.wait_for(host.close(), 10) == []
    assert home._lodging.place is Place.LEAVING
    feed(writer, 25, 5)
    hung.set()
    await ears.until(lambda: "moved-home" in ears.troubles)
    assert "moved-to-fallback" not in ears.troubles
    feed(writer, 30, 10)
    mount.give_back()
    await ears.until(lambda: writer.committed_samples == 40)
    assert await home.close() == []
    for volume, storage, track, count in ((mount.path, "main", 0, 40), (tmp_path / "other", "other", 9, 10)):
        found = stored(volume, storage, track)
        assert [n for _, first, many in found for n in range(first, first + many)] == list(range(count))
        assert verify_volume(RealFs(), volume).findings == []


async def test_what_was_durable_before_is_not_asked_of_a_volume_that_came_back(tmp_path: Path) -> None:
    """Its newest segment may be removed by retention before anything new is durable; then it goes once more."""
    mount, ears = Mount(tmp_path), Heard()
    store = await opened(mount.path, ears, SOON)
    feed(video(store), 0, 10)
    await store.flush()
    for turn in range(2):
        mount.take()
        await ears.until(lambda turn=turn: ears.troubles.count("storage-let-go") > turn)  # type: ignore[misc]
        mount.give_back()
        await ears.until(lambda turn=turn: ears.troubles.count("storage-recovered") > turn)  # type: ignore[misc]
        await soon(lambda: not store._reopening.life.away)
        await store.read(int)
        for path in mount.path.rglob("*.rseg"):
            path.unlink()
    assert "storage-older" not in ears.reasons
    await store.close()


async def test_a_defect_while_a_volume_is_opened_again_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount, ears = Mount(tmp_path), Heard()
    store = await opened(mount.path, ears, SOON)
    writer = video(store)
    feed(writer, 0, 10)
    await store.flush()
    monkeypatch.setattr("mediadb.write.writer_thread.attach", lambda *_: 1 // 0)
    monkeypatch.setattr(type(store._own), "shut", lambda _: 1 // 0)
    mount.take()
    feed(writer, 10, 10)
    await ears.until(lambda: "storage-let-go" in ears.troubles)
    mount.give_back()
    await ears.until(lambda: "storage-unusable" in ears.reasons)
    monkeypatch.undo()
    await ears.until(lambda: writer.committed_samples == 20)
    assert await store.close() == []
