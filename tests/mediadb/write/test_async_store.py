"""The store under a real event loop and real files: threads, watermarks, stalls, failures, restarts."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import rig

from mediadb.aio import AsyncStore, CommitInfo, StoreOptions, TrackWriter
from mediadb.errors import StorageLocked, StorageMissing
from mediadb.format.ledger_page import LedgerKind
from mediadb.fs import RealFs
from mediadb.ledger import read_ledger
from mediadb.types import Names, State

FAR = 10**12


class TestClock:
    """UTC begins at rig.T0 and runs; `step` moves it as an administrator would."""

    __test__ = False

    def __init__(self) -> None:
        self.offset_us = rig.T0 - time.monotonic_ns() // 1000

    def utc_us(self) -> int:
        return self.monotonic_us() + self.offset_us

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000


class Ears:
    def __init__(self) -> None:
        self.commits: list[CommitInfo] = []
        self.sheds: list[tuple[int, int, int]] = []
        self.troubles: list[str] = []
        self.changed = asyncio.Event()

    def committed(self, info: CommitInfo) -> None:
        self.commits.append(info)
        self.changed.set()

    def shed(self, track: uuid.UUID, start_us: int, end_us: int, samples: int, bytes: int) -> None:
        self.sheds.append((start_us, end_us, samples))
        self.changed.set()

    def trouble(self, code: str, params: dict[str, object]) -> None:
        self.troubles.append(code)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 60)


OPTIONS = StoreOptions(create=True, commit_us=20_000, slot_us=5_000, probe_us=10_000)


async def opened(
    root: Path, ears: Ears, options: StoreOptions = OPTIONS, fs: RealFs | None = None, clock: TestClock | None = None
) -> AsyncStore:
    return await AsyncStore.open(
        root, "main", server=rig.SERVER, clock=clock or TestClock(), options=options, listener=ears, fs=fs
    )


def video(store: AsyncStore, number: int = 0) -> TrackWriter:
    writer = store.track(rig.video_spec(number), Names("cam", "hw"))
    writer.config(rig.VIDEO)
    return writer


def feed(writer: TrackWriter, first: int, count: int, size: int = 300) -> None:
    for number in range(first, first + count):
        writer.append(rig.frame(writer.state.spec.track, number, size=size))


def read_numbers(store: AsyncStore, number: int = 0) -> list[int]:
    """By the store's own reader, every byte compared."""
    track, out = rig.track_id(number), []
    for ref in store.reader.chunks(track, rig.T0 - FAR, rig.T0 + FAR):
        for sample in store.reader.read(ref).samples:
            n = int.from_bytes(sample.data[:4], "big")
            assert sample.data == rig.content(track, n, len(sample.data))
            out.append(n)
    return out


async def test_record_read_close_and_again(tmp_path: Path) -> None:
    for life in range(3):
        ears = Ears()
        store = await opened(tmp_path, ears)
        writer = video(store)
        assert writer.durable_us is None
        feed(writer, life * 50, 50)
        await store.flush()
        assert writer.committed_samples == 50
        assert writer.durable_us == rig.T0 + (life + 1) * 50 * rig.FRAME_US
        assert await store.read(read_numbers, store) == list(range((life + 1) * 50))
        assert store.stats()["held_bytes"] == 0
        assert store.epoch == life + 1
        assert await store.close() == []
        assert ears.troubles == []
    kinds = [r.kind for r in read_ledger(RealFs(), next((tmp_path / "ledger" / "main").iterdir()))]
    assert kinds.count(LedgerKind.RUN_START) == kinds.count(LedgerKind.RUN_STOP) == 3
    assert kinds.count(LedgerKind.SEGMENT_SEAL) == 3


async def test_second_opening_and_missing_volume_are_refused(tmp_path: Path) -> None:
    store = await opened(tmp_path, Ears())
    with pytest.raises(StorageLocked):
        await opened(tmp_path, Ears())
    await store.close()
    with pytest.raises(StorageMissing):
        await opened(tmp_path / "not-mounted", Ears(), StoreOptions(create=True, expected_volume=uuid.uuid4()))
    assert not (tmp_path / "not-mounted").exists()


async def test_what_is_durable_never_disappears_while_segments_roll(tmp_path: Path) -> None:
    ears = Ears()
    options = StoreOptions(create=True, commit_us=1_000, slot_us=1_000, segment_us=30_000)
    store = await opened(tmp_path, ears, options)
    writer = video(store)
    seen = 0
    for turn in range(40):
        feed(writer, turn * 10, 10)
        await store.flush()
        found = await store.read(read_numbers, store)
        assert found == list(range((turn + 1) * 10))
        seen = len(found)
    assert seen == 400
    assert await store.close() == []
    assert len(rig.segment_paths(RealFs(), tmp_path)) > 1
    assert rig.numbers(RealFs(), rig.track_id(0), tmp_path) == list(range(400))


class StalledFs(RealFs):
    """Sync of segments waits until told, or fails with an errno."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.free.set()
        self.waiting = threading.Event()
        self.number = 0

    def fdatasync(self, fd: int) -> None:
        if not self.free.is_set():
            self.waiting.set()
        self.free.wait(120)
        if self.number:
            raise OSError(self.number, "injected")
        super().fdatasync(fd)


async def test_a_stalled_disk_loses_nothing_within_the_budget(tmp_path: Path) -> None:
    fs, ears = StalledFs(), Ears()
    store = await opened(tmp_path, ears, fs=fs)
    writer = video(store)
    feed(writer, 0, 10)
    await store.flush()
    fs.free.clear()
    feed(writer, 10, 10)
    assert await asyncio.to_thread(fs.waiting.wait, 60)
    for turn in range(2, 50):  # the loop goes on while the writer thread hangs
        feed(writer, turn * 10, 10)
        await asyncio.sleep(0)
    assert writer.committed_samples == 10
    assert writer.durable_us == rig.T0 + 10 * rig.FRAME_US
    fs.free.set()
    await store.flush()
    assert writer.committed_samples == 500
    assert ears.sheds == []
    assert await store.close() == []


async def test_beyond_the_budget_whole_gops_are_shed_and_told(tmp_path: Path) -> None:
    fs, ears = StalledFs(), Ears()
    options = StoreOptions(create=True, commit_us=20_000, slot_us=5_000, memory_bytes=1 << 20)
    store = await opened(tmp_path, ears, options, fs)
    writer = video(store)
    fs.free.clear()
    feed(writer, 0, 200, size=10_000)
    held = store.stats()["held_bytes"]
    assert held <= 1 << 20
    fs.free.set()
    await store.flush()
    feed(writer, 200, 20, size=10_000)
    assert await store.close() == []
    ((start_us, end_us, samples),) = ears.sheds
    kept = rig.numbers(RealFs(), rig.track_id(0), tmp_path)
    assert kept == [*range(200 - samples), *range(200, 220)]
    assert (start_us, end_us) == (rig.T0 + (200 - samples) * rig.FRAME_US, rig.T0 + 200 * rig.FRAME_US)
    records = list(read_ledger(RealFs(), next((tmp_path / "ledger" / "main").iterdir())))
    gaps = [record.body for record in records if record.kind == LedgerKind.GAP]
    assert [gap["state"] for gap in gaps] == [State.OVERLOAD_SHED.value]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_storage_that_fails_and_comes_back(tmp_path: Path, number: int) -> None:
    fs, ears = StalledFs(), Ears()
    store = await opened(tmp_path, ears, fs=fs)
    writer = video(store)
    feed(writer, 0, 50)
    await store.flush()
    fs.number = number
    feed(writer, 50, 50)
    await ears.until(lambda: "storage-error" in ears.troubles)
    assert writer.committed_samples == 50
    assert await store.read(read_numbers, store) == list(range(50))
    fs.number = 0
    await ears.until(lambda: writer.committed_samples == 100)
    assert "storage-recovered" in ears.troubles or ears.troubles == ["storage-error"]
    assert await store.read(read_numbers, store) == list(range(100))
    assert await store.close() == []
    again = await opened(tmp_path, Ears())
    await again.flush()
    assert await again.read(read_numbers, again) == list(range(100))
    await again.close()
    assert rig.numbers(RealFs(), rig.track_id(0), tmp_path) == list(range(100))


async def test_close_names_what_was_not_durable(tmp_path: Path) -> None:
    fs, ears = StalledFs(), Ears()
    store = await opened(tmp_path, ears, fs=fs)
    writer = video(store)
    feed(writer, 0, 10)
    await store.flush()
    fs.number = errno.EIO
    feed(writer, 10, 10)
    lost = await store.close()
    assert lost[0] == "10 samples in 1 commits"


async def test_a_bug_in_the_writer_is_loud_and_does_not_hang_the_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ears = Ears()
    store = await opened(tmp_path, ears)
    monkeypatch.setattr("mediadb.write.store.LogWriter.take", lambda *_: 1 // 0)
    feed(video(store), 0, 1)
    await ears.until(lambda: "writer-failed" in ears.troubles)
    lost = await store.close()
    assert "ZeroDivisionError" in lost[0]
    monkeypatch.undo()
    again = await opened(tmp_path, Ears())  # the lock was given back
    await again.close()


async def test_a_step_of_the_wall_clock_begins_a_clock_run(tmp_path: Path) -> None:
    ears, clock = Ears(), TestClock()
    store = await opened(tmp_path, ears, clock=clock)
    writer = video(store)
    feed(writer, 0, 5)
    await store.flush()
    clock.offset_us += 3_600_000_000
    for number in range(5, 10):
        sample = rig.frame(writer.state.spec.track, number)
        writer.append(sample._replace(recv_us=sample.recv_us + 3_600_000_000))
    await store.flush()
    await ears.until(lambda: "recorder-clock-step" in ears.troubles)
    refs = await store.read(lambda: list(store.reader.chunks(rig.track_id(0), rig.T0 - FAR, rig.T0 + FAR)))
    runs = [(await store.read(store.reader.read, ref)).header.clock_run for ref in refs]
    assert runs == [0, 0, 1]
    await store.close()


async def beside(store: AsyncStore, job: Callable[[], object]) -> None:
    """Done on the keeper thread, behind all that it was given before."""
    done = threading.Event()

    def run() -> None:
        job()
        done.set()

    store._thread.beside(run)
    await asyncio.get_running_loop().run_in_executor(None, done.wait, 60)


async def test_retention_by_size_removes_the_oldest_segments(tmp_path: Path) -> None:
    ears = Ears()
    options = StoreOptions(create=True, commit_us=1_000, slot_us=1_000, segment_us=1_000, quota_bytes=1 << 20)
    store = await opened(tmp_path, ears, options)
    writer = video(store)
    for turn in range(30):
        feed(writer, turn * 10, 10, size=10_000)
        await store.flush()
        await beside(store, int)  # sealed: what is not is never removed, and fills the limit
    await beside(store, store._reclaim.step)
    await ears.until(lambda: "reclaimed" in ears.troubles)
    found = await store.read(read_numbers, store)
    assert found
    assert found == list(range(found[0], 300))
    assert found[0] > 0
    await store.close()


async def test_new_limits_hold_without_opening_the_store_anew(tmp_path: Path) -> None:
    ears = Ears()
    options = StoreOptions(create=True, commit_us=1_000, slot_us=1_000, segment_us=1_000)
    store = await opened(tmp_path, ears, options)
    writer = video(store)
    for turn in range(30):
        feed(writer, turn * 10, 10, size=10_000)
        await store.flush()
    store._thread.beside(store._reclaim.step)
    await store.read(int)
    assert "reclaimed" not in ears.troubles
    store.limits(retention_us=None, quota_bytes=1 << 20)
    await beside(store, store._reclaim.step)
    await ears.until(lambda: "reclaimed" in ears.troubles)
    assert (await store.read(read_numbers, store))[0] > 0
    await store.close()
