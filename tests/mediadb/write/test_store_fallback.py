"""While a storage takes nothing another one stands in: nothing is lost, numbers go on, everything comes home."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import rig
from test_async_store import Ears, TestClock, feed, opened, read_numbers, video
from test_store_away import SOON, Heard, Mount

from mediadb.aio import AsyncStore, StoreOptions
from mediadb.fs import RealFs
from mediadb.read.reader import Reader
from mediadb.tools.verify import verify_volume

RUN = 77
OPTIONS = replace(SOON, run=RUN)
EVER = 10**12


async def pair(tmp_path: Path, ahead_us: int = 0) -> tuple[Mount, AsyncStore, AsyncStore, Heard]:
    mount, ears, clock = Mount(tmp_path), Heard(), TestClock()
    clock.offset_us += ahead_us
    home = await opened(mount.path, ears, OPTIONS, clock=clock)
    host = await AsyncStore.open(
        tmp_path / "other", "other", server=rig.SERVER, clock=clock, options=OPTIONS, listener=Ears()
    )
    home.stand_in(host)
    return mount, home, host, ears


def stored(volume: Path, storage: str, track: int = 0) -> list[tuple[int, int, int]]:
    """(seq, first sample number, samples) of every chunk on a volume, read without a store, every byte compared."""
    reader = Reader.open_offline(volume, storage, TestClock().utc_us)
    out = []
    for ref in reader.chunks(rig.track_id(track), rig.T0 - EVER, rig.T0 + EVER):
        samples = reader.read(ref).samples
        first = int.from_bytes(samples[0].data[:4], "big")
        for at, sample in enumerate(samples):
            assert sample.data == rig.content(rig.track_id(track), first + at, len(sample.data))
        assert ref.run == RUN
        out.append((ref.seq, first, len(samples)))
    reader.close()
    return out


async def test_out_and_home_again(tmp_path: Path) -> None:
    mount, home, host, ears = await pair(tmp_path)
    writers = [video(home, number) for number in range(3)]
    guest_free = video(host, 9)
    for writer in writers:
        feed(writer, 0, 15)
    await home.flush()
    mount.take()
    for writer in writers:
        feed(writer, 15, 12)  # in the middle of a GOP
    feed(guest_free, 0, 10)
    await ears.until(lambda: "moved-to-fallback" in ears.troubles)
    for writer in writers:
        feed(writer, 27, 8)
    await home.flush()
    await host.flush()
    assert [writer.committed_samples for writer in writers] == [35] * 3
    assert home.stats()["held_bytes"] == host.stats()["held_bytes"] == 0
    mount.give_back()
    await ears.until(lambda: "storage-recovered" in ears.troubles)
    number = 35
    while "moved-home" not in ears.troubles:
        for writer in writers:
            feed(writer, number, 1)
        number += 1
        await asyncio.sleep(0.01)
    for writer in writers:
        feed(writer, number, 7)
    await home.flush()
    await host.flush()
    assert [writer.committed_samples for writer in writers] == [number + 7] * 3
    assert await home.close() == []
    assert await host.close() == []
    assert ears.sheds == []
    for track in range(3):
        at_home, abroad = stored(mount.path, "main", track), stored(tmp_path / "other", "other", track)
        chunks = sorted(at_home + abroad)
        assert [seq for seq, _, _ in chunks] == list(range(len(chunks)))
        assert [n for _, first, count in chunks for n in range(first, first + count)] == list(range(number + 7))
        assert abroad
        assert (
            verify_volume(RealFs(), mount.path).findings == verify_volume(RealFs(), tmp_path / "other").findings == []
        )
        back = [first for seq, first, _ in at_home if seq > abroad[-1][0]]
        assert back[0] % 10 == 0, "home at a key"
    assert stored(tmp_path / "other", "other", 9)[0][1] == 0


async def test_it_fails_again_on_the_way_home(tmp_path: Path) -> None:
    mount, home, host, ears = await pair(tmp_path)
    writers = [video(home, number) for number in range(2)]
    number = 0

    async def film(until: Callable[[], bool]) -> None:
        nonlocal number
        while not until():
            for writer in writers:
                feed(writer, number, 1)
            number += 1
            await asyncio.sleep(0.005)

    for turn in range(1, 4):
        mount.take()
        await film(lambda turn=turn: home.abroad and ears.troubles.count("storage-let-go") >= turn)  # type: ignore[misc]
        mount.give_back()
        await film(lambda: not home.failing)
        if turn % 2:
            await film(lambda: not home.abroad)
    assert await home.close() == []
    assert await host.close() == []
    for track in range(2):
        chunks = sorted(stored(mount.path, "main", track) + stored(tmp_path / "other", "other", track))
        assert [seq for seq, _, _ in chunks] == list(range(len(chunks)))
        assert [n for _, first, count in chunks for n in range(first, first + count)] == list(range(number))


async def test_stopped_abroad(tmp_path: Path) -> None:
    mount, home, host, ears = await pair(tmp_path)
    writer = video(home)
    feed(writer, 0, 15)
    await home.flush()
    mount.take()
    feed(writer, 15, 15)
    await ears.until(lambda: "moved-to-fallback" in ears.troubles)
    feed(writer, 30, 5)
    lost = await home.close()
    assert not any("samples" in what for what in lost), lost
    assert await host.close() == []
    mount.give_back()
    chunks = sorted(stored(mount.path, "main") + stored(tmp_path / "other", "other"))
    assert [n for _, first, count in chunks for n in range(first, first + count)] == list(range(35))


async def test_who_stands_in_is_taken_away(tmp_path: Path) -> None:
    """A storage leaves the configuration while another one lodges in it: what comes waits in the guest's memory."""
    mount, home, host, ears = await pair(tmp_path)
    writer = video(home)
    feed(writer, 0, 15)
    await home.flush()
    mount.take()
    feed(writer, 15, 8)
    await ears.until(lambda: "moved-to-fallback" in ears.troubles)
    feed(writer, 23, 4)
    home.stand_in(None)
    assert home.abroad
    assert await host.close() == []
    assert not home.abroad
    feed(writer, 27, 5)
    mount.give_back()
    await ears.until(lambda: "storage-recovered" in ears.troubles)
    await home.flush()
    assert await home.close() == []
    chunks = sorted(stored(mount.path, "main") + stored(tmp_path / "other", "other"))
    assert [seq for seq, _, _ in chunks] == list(range(len(chunks)))
    assert [n for _, first, count in chunks for n in range(first, first + count)] == list(range(32))


async def test_a_camera_that_changes_storage_never_repeats_a_number(tmp_path: Path) -> None:
    """Both logs are of one run: what the second writes has numbers of its own, and verify knows why."""
    met: dict[object, int] = {}

    def first_number(track: object) -> int:
        met[track] = met.get(track, -1) + 1
        return met[track] << 32

    options = replace(OPTIONS, first_number=first_number)
    for storage in ("main", "other"):
        store = await AsyncStore.open(
            tmp_path / storage, storage, server=rig.SERVER, clock=TestClock(), options=options, listener=Ears()
        )
        feed(video(store), 0, 12)
        assert await store.close() == []
        assert verify_volume(RealFs(), tmp_path / storage).findings == []
    seqs = [seq for storage in ("main", "other") for seq, _, _ in stored(tmp_path / storage, storage)]
    assert len(set(seqs)) == len(seqs)
    assert max(seqs) >= 1 << 32


async def test_missing_at_the_start(tmp_path: Path) -> None:
    """The volume is known and not there: the other one stands in at once, and it comes home when it is mounted."""
    mount, ears, clock = Mount(tmp_path), Heard(), TestClock()
    first = await opened(mount.path, Ears(), OPTIONS, clock=clock)
    feed(video(first), 0, 10)
    assert await first.close() == []
    known = replace(OPTIONS, run=RUN + 1, create=False, expected_volume=first.volume_id, known_epoch=first.epoch)
    mount.take()
    home = AsyncStore.absent(mount.path, "main", server=rig.SERVER, clock=clock, options=known, listener=ears)
    host = await AsyncStore.open(
        tmp_path / "other", "other", server=rig.SERVER, clock=clock, options=known_run(known), listener=Ears()
    )
    home.stand_in(host)
    writer = video(home)
    feed(writer, 10, 10)
    await ears.until(lambda: "moved-to-fallback" in ears.troubles)
    await ears.until(lambda: "storage-missing" in ears.reasons)
    feed(writer, 20, 5)
    await home.flush()
    await host.flush()
    assert writer.committed_samples == 15
    assert mount.content() == []
    mount.give_back()
    await ears.until(lambda: "storage-recovered" in ears.troubles)
    number = 25
    while home.abroad:
        feed(writer, number, 1)
        number += 1
        await asyncio.sleep(0.01)
    await home.flush()
    assert await home.read(read_numbers, home) == list(range(number))
    assert home.epoch == first.epoch + 1
    assert await home.close() == []
    assert await host.close() == []
    for volume in (mount.path, tmp_path / "other"):
        assert verify_volume(RealFs(), volume).findings == []


def known_run(options: StoreOptions) -> StoreOptions:
    """Of the same process, another volume."""
    return replace(options, create=True, expected_volume=None, known_epoch=None)
