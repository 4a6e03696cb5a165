"""A store whose volume goes and comes back: every descriptor is let go, what waits is in memory, another disk is
refused in words and left alone, and the right one goes on: same process, same run, no sample lost."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import rig
from test_async_store import OPTIONS, Ears, TestClock, feed, opened, read_numbers, video

from mediadb.aio import AsyncStore
from mediadb.catalog import Catalog, CatalogLost
from mediadb.errors import StorageMissing
from mediadb.format.ledger_page import LedgerKind
from mediadb.fs import RealFs
from mediadb.ledger import read_ledger
from mediadb.tools.verify import verify_volume
from mediadb.types import State

SOON = replace(OPTIONS, let_go_us=100_000, retry_us=20_000)


class Heard(Ears):
    """Keeps what troubles say."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []

    def trouble(self, code: str, params: dict[str, object]) -> None:
        self.reasons.append(str(params.get("reason", "")))
        super().trouble(code, params)


class Mount:
    """A folder that can be taken away and given back, as a mount point is: below it lies an empty one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "video"
        self.path.mkdir()
        self.away = folder / "taken away"
        self.put_aside = 0

    def take(self, instead: Path | None = None) -> None:
        self.path.rename(self.away)
        if instead is None:
            self.path.mkdir(exist_ok=True)  # a writer that looked a moment before may have made it
        else:
            shutil.copytree(instead, self.path)

    def swap(self, instead: Path) -> None:
        shutil.rmtree(self.path)
        shutil.copytree(instead, self.path)

    def give_back(self) -> None:
        shutil.rmtree(self.path)
        self.away.rename(self.path)

    def content(self) -> list[tuple[str, bytes]]:
        return [
            (str(path.relative_to(self.path)), path.read_bytes() if path.is_file() else b"")
            for path in sorted(self.path.rglob("*"))
        ]


def held_files(folder: Path) -> list[str]:
    """What this process has open below a folder."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return [link for link in links if link.startswith(str(folder))]


async def told(store: AsyncStore, ears: Heard, code: str) -> None:
    await ears.until(lambda: code in ears.troubles)


async def test_a_volume_that_goes_and_comes_back(tmp_path: Path) -> None:
    mount, ears, clock = Mount(tmp_path), Heard(), TestClock()
    store = await opened(mount.path, ears, SOON, clock=clock)
    openings: list[int] = []
    store.reopened = lambda volume, epoch: openings.append(epoch)
    writer = video(store)
    feed(writer, 0, 50)
    await store.flush()
    assert await store.read(read_numbers, store) == list(range(50))
    mount.take()
    feed(writer, 50, 25)
    await told(store, ears, "storage-let-go")
    assert held_files(tmp_path) == []
    with pytest.raises(StorageMissing):
        await store.read(read_numbers, store)
    feed(writer, 75, 25)
    await store.flush()
    assert mount.content() == []
    assert store.stats()["failed"] == 1
    mount.give_back()
    await told(store, ears, "storage-recovered")
    feed(writer, 100, 10)
    await store.flush()
    assert await store.read(read_numbers, store) == list(range(110))
    assert openings == [2] == [store.epoch]
    assert ears.sheds == []
    assert store.stats()["held_bytes"] == 0
    states = await store.read(
        store.reader.coverage, [rig.track_id(0)], rig.T0, rig.T0 + 110 * rig.FRAME_US
    )  # fmt: skip
    assert [i.cause.state for i in states[rig.track_id(0)]] == [State.RECORDED]
    assert await store.close() == []
    kinds = [r.kind for r in read_ledger(RealFs(), next((mount.path / "ledger" / "main").iterdir()))]
    assert kinds.count(LedgerKind.RUN_START) == kinds.count(LedgerKind.RUN_STOP) == 1
    assert held_files(tmp_path) == []


async def test_another_disk_in_its_place_is_refused_and_left_alone(tmp_path: Path) -> None:
    mount, ears = Mount(tmp_path), Heard()
    strange = tmp_path / "strange"
    other = await opened(strange, Ears())
    feed(video(other), 0, 10)
    assert await other.close() == []
    store = await opened(mount.path, ears, SOON)
    writer = video(store)
    feed(writer, 0, 20)
    await store.flush()
    older = tmp_path / "older"
    shutil.copytree(mount.path, older)  # of this very epoch
    feed(writer, 20, 20)
    await store.flush()
    mount.take(older)
    feed(writer, 40, 20)
    for reason, disk in (("storage-older", older), ("storage-foreign", strange), ("storage-missing", None)):
        if disk is not None:
            mount.swap(disk)
        else:
            shutil.rmtree(mount.path)
            mount.path.mkdir()
        before = mount.content()
        await ears.until(lambda reason=reason: reason in ears.reasons[1:])  # type: ignore[misc]
        assert mount.content() == before
    mount.give_back()
    await told(store, ears, "storage-recovered")
    await store.flush()
    assert await store.read(read_numbers, store) == list(range(60))
    assert await store.close() == []


class SickFs(RealFs):
    """Syncs fail while it is ill: what was written may or may not be on the disk."""

    ill = False

    def fdatasync(self, fd: int) -> None:
        if self.ill:
            raise OSError(errno.EIO, "I/O error")
        super().fdatasync(fd)


async def test_what_failed_to_sync_is_there_once(tmp_path: Path) -> None:
    """Its bytes are in the old file, whole, and in the new one: the new log opening says that the old ones are void."""
    fs, ears = SickFs(), Heard()
    store = await opened(tmp_path, ears, SOON, fs=fs)
    writer = video(store)
    feed(writer, 0, 20)
    await store.flush()
    fs.ill = True
    feed(writer, 20, 20)
    await told(store, ears, "storage-let-go")
    fs.ill = False
    await told(store, ears, "storage-recovered")
    await store.flush()
    assert await store.read(read_numbers, store) == list(range(40))
    assert await store.close() == []
    assert verify_volume(RealFs(), tmp_path).findings == []
    again = await opened(tmp_path, Ears())
    assert await again.read(read_numbers, again) == list(range(40))
    assert await again.close() == []


def test_the_catalog_makes_nothing_below_a_mount_point(tmp_path: Path) -> None:
    mount = Mount(tmp_path)
    catalog = Catalog(mount.path / "catalog.db", "main")
    mount.take()
    with pytest.raises(CatalogLost):
        catalog.check()
    assert catalog.segments() == {}
    assert mount.content() == []
    catalog.close()


async def test_stopped_while_the_volume_is_away(tmp_path: Path) -> None:
    """What waits is named; when the volume is back just then it is written."""
    mount, ears = Mount(tmp_path), Heard()
    store = await opened(mount.path, ears, replace(SOON, retry_us=10**12))
    writer = video(store)
    feed(writer, 0, 10)
    await store.flush()
    mount.take()
    feed(writer, 10, 10)
    await told(store, ears, "storage-let-go")
    mount.give_back()
    assert await store.close() == []
    again = await opened(mount.path, Ears())
    assert await again.read(read_numbers, again) == list(range(20))
    mount.take()
    feed(video(again), 20, 5)
    (lost,) = [what for what in await again.close() if "samples" in what]
    assert lost == "5 samples in 1 commits"
    assert mount.content() == []
