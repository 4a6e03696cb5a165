"""A disk that does not answer: what is said meanwhile is durable on another one, and in the next run's ledger."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import rig
from fault_fs import FaultFs, Stall
from test_async_store import OPTIONS, Ears, TestClock, feed, opened, video

from mediadb.aio import AsyncStore
from mediadb.format.ledger_page import LedgerKind, LedgerRecord
from mediadb.fs import Fs, RealFs
from mediadb.ledger import read_ledger
from mediadb.types import Cause, State
from mediadb.waiting import WaitingLedger, unwrap
from mediadb.write import health

DATA = Path("/data/ledger-waiting/main")
STALLED = Cause(State.STORAGE_ERROR, "storage-stalled")
STOPPED = Cause(State.SERVER_DOWN, "stop")
S = 1_000_000


class Played(TestClock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.offset_us = rig.T0
        self.at_us = 0

    def monotonic_us(self) -> int:
        return self.at_us


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class Scene:
    """A store on a disk that can hang, its waiting ledger on one that does not, and one camera."""

    def __init__(self, disk: FaultFs, other: FaultFs, run: int, start_s: float) -> None:
        self.disk, self.other, self.clock, self.ears = disk, other, Played(), Ears()
        other.mkdirs(DATA)
        self.waiting = WaitingLedger(cast(Fs, other), DATA, run)
        self.clock.at_us = round(start_s * S)
        self.options = replace(OPTIONS, commit_us=S, run=run, waiting=self.waiting)
        self.store: AsyncStore

    async def open(self) -> AsyncStore:
        self.store = await opened(rig.ROOT, self.ears, self.options, cast(RealFs, self.disk), self.clock)
        return self.store

    async def hang(self, at_s: float) -> Stall:
        """Footage until `at_s` is durable, then the disk hangs with more of it under way; it is told."""
        writer = video(self.store)
        writer.cover(rig.T0, Cause(State.RECORDED))
        feed(writer, 0, round(at_s * 25))
        self.clock.at_us = round(at_s * S)
        await self.store.flush()
        stall = self.disk.stall("fdatasync")
        feed(writer, round(at_s * 25), 50)
        self.clock.at_us += 2 * S
        await asyncio.to_thread(stall.reached.wait, 30)
        return stall

    async def told(self, code: str) -> None:
        await self.ears.until(lambda: code in self.ears.troubles)

    async def recovers(self) -> None:
        """Commits go on; the first that begins when the hung call is gone for good proves it."""
        async with asyncio.timeout(60):
            while "storage-recovered" not in self.ears.troubles:
                await self.store.flush()
        await self.store.flush()

    async def handed(self) -> None:
        """Two slots later: what was said is with the writer, and the store has looked at the time."""
        for _ in range(2):
            video(self.store).mark(0, "slot", {})
            await until(lambda: not self.store._collector._items)

    async def stalls(self) -> None:
        """Time goes on until the store says so; the engine says it of the camera, back to its last durable sample."""
        self.clock.at_us += health.STALL_US
        await self.told("storage-stalled")
        writer = video(self.store)
        writer.cover(writer.durable_us or 0, STALLED)
        await self.handed()
        self.waiting.flush(self.clock.utc_us())


def said(disk: FaultFs) -> list[LedgerRecord]:
    (folder,) = (rig.ROOT / "ledger" / "main" / name for name in disk.listdir(rig.ROOT / "ledger" / "main"))
    return [unwrap(record) for record in read_ledger(cast(Fs, disk), folder)]


def stall_words(records: list[LedgerRecord]) -> list[str]:
    found = [record for record in records if record.kind == LedgerKind.TROUBLE]
    return [str(one.body["code"]) for one in found if "storage-stalled" in str(one.body)]


async def after(scene: Scene, run: int, at_s: float) -> list[tuple[float, str, str]]:
    """The process is gone: the next one opens what both disks hold, and is asked what was."""
    disk, other = scene.disk.crash(), scene.other.crash()
    again = Scene(disk, other, run, at_s)
    store = await again.open()
    writer = video(store)
    writer.cover(rig.T0 + round(at_s * S), Cause(State.RECORDED))
    for number in range(50):
        writer.append(rig.frame(writer.state.spec.track, number, base_us=rig.T0 + round(at_s * S)))
    again.clock.at_us += 2 * S
    await asyncio.wrap_future(store.thread._keeper.submit(lambda: None))  # behind recovery
    await store.flush()
    track = rig.track_id(0)
    found = (await store.read(store.reader.coverage, [track], rig.T0, again.clock.utc_us()))[track]
    assert await store.close() == []
    if any(one.kind == LedgerKind.RUN_STOP and one.run == 5 for one in said(disk)):
        assert [one for one in said(disk) if one.kind == LedgerKind.GAP] == [], "no run crashed"
    assert again.waiting.load() == []
    assert not [name for name in other.listdir(DATA) if name.endswith(".waiting")], "moved, not copied"
    words = [((one.start_us - rig.T0) / S, str(one.cause.state), one.cause.reason) for one in found]
    return words


async def test_a_kill_while_the_disk_hangs_leaves_the_stall_in_the_ledger() -> None:
    scene = Scene(FaultFs(), FaultFs(), 5, 0)
    await scene.open()
    stall = await scene.hang(4)
    await scene.stalls()
    scene.clock.at_us += 9 * S  # 20 s: a sign of life
    await scene.handed()
    scene.waiting.flush(scene.clock.utc_us())
    assert await after(scene, 6, 60) == [
        (0.0, "recorded", ""),
        (4.0, "storage-error", "storage-stalled"),
        (20.0, "server-down", "crash"),
        (60.0, "recorded", ""),
    ]
    stall.release()
    scene.disk.heal()
    await scene.store.close()


@pytest.mark.parametrize("known", [True, False], ids=["told as stalled", "before that was told"])
async def test_a_stop_that_gives_up_says_that_it_was_a_stop(known: bool) -> None:
    scene = Scene(FaultFs(), FaultFs(), 5, 0)
    store = await scene.open()
    stall = await scene.hang(4)
    if known:
        await scene.stalls()
    end_s = scene.clock.at_us / S + 3
    scene.clock.at_us += 3 * S
    video(store).cover(scene.clock.utc_us(), STOPPED)
    closing = asyncio.ensure_future(store.close())
    await until(lambda: store.closing and not store._collector._items)
    scene.clock.at_us += S
    store.given_up()
    scene.waiting.flush(scene.clock.utc_us())
    assert await after(scene, 6, 60) == [
        (0.0, "recorded", ""),
        (4.0, "storage-error", "storage-stalled"),
        (end_s, "server-down", "stop"),
        (60.0, "recorded", ""),
    ]
    stall.release()
    scene.disk.heal()
    await closing


async def test_a_disk_that_answers_again_has_it_said_once_and_by_itself() -> None:
    scene = Scene(FaultFs(), FaultFs(), 5, 0)
    store = await scene.open()
    stall = await scene.hang(4)
    video(store).cover(rig.T0 + 5 * S, Cause(State.CAMERA_OFFLINE, "refused"))  # in the queue before it is told
    await scene.handed()
    await scene.stalls()
    kept = WaitingLedger(cast(Fs, scene.other.crash()), DATA, 9).load()
    reasons = [str(one.body["reason"]) for one in kept if one.kind == LedgerKind.COVER]
    assert reasons == ["refused", "storage-stalled"]
    assert stall_words(kept) == ["storage-stalled"]
    stall.release()
    scene.disk.heal()
    await scene.recovers()
    scene.waiting.flush(scene.clock.utc_us())
    assert not [name for name in scene.other.listdir(DATA) if name.endswith(".waiting")]
    assert await store.close() == []
    assert stall_words(said(scene.disk)) == ["storage-stalled", "storage-recovered"]
    covers = [str(one.body["reason"]) for one in said(scene.disk) if one.kind == LedgerKind.COVER]
    assert covers == ["", "refused", "storage-stalled"]


async def test_a_second_stall_before_the_first_is_durable_says_each_once() -> None:
    """The process dies in the second one: both are in the ledger of the next."""
    scene = Scene(FaultFs(), FaultFs(), 5, 0)
    store = await scene.open()
    stall = await scene.hang(4)
    await scene.stalls()
    scene.ears.troubles.clear()
    store._witness.word("storage-recovered", {"of": "storage-stalled", "lasted_us": 1}, 10**6, store._now())
    store._witness.word("storage-stalled", {"waiting_us": 1}, 10**6, store._now())
    scene.waiting.flush(scene.clock.utc_us())
    kept = WaitingLedger(cast(Fs, scene.other.crash()), DATA, 9).load()
    assert stall_words(kept) == ["storage-stalled", "storage-recovered", "storage-stalled"]
    assert [str(one.body["reason"]) for one in kept if one.kind == LedgerKind.COVER] == ["storage-stalled"]
    stall.release()
    scene.disk.heal()
    await store.close()


async def test_a_stop_on_a_disk_that_takes_nothing_is_a_stop_too() -> None:
    """It does not hang, it fails: the stop waits beside with all else."""
    scene = Scene(FaultFs(), FaultFs(), 5, 0)
    store = await scene.open()
    writer = video(store)
    writer.cover(rig.T0, Cause(State.RECORDED))
    feed(writer, 0, 100)
    scene.clock.at_us = 4 * S
    await store.flush()
    scene.disk.fail_always["pwritev"] = errno.EIO
    feed(writer, 100, 50)
    scene.clock.at_us = 6 * S
    await store.flush()
    assert await store.close() != []
    assert [words[1:] for words in await after(scene, 6, 60)] == [
        ("recorded", ""),
        ("storage-error", "io-error"),
        ("server-down", "stop"),
        ("recorded", ""),
    ]
