"""Clock steps, lanes, damage, reclaimed footage, cursors, the growing end."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest
from film_rig import T0, TRACK, VIDEO, Film, InlineStore, LoopClock, S
from test_seek_step import collect, number, picture, player_of

from mediadb.errors import ChunkCorrupt, ChunkGone
from mediadb.fs import RealFs
from mediadb.read.reader import Reader
from mediadb.types import KeyType, Names, Origin, Sample, State
from mediadb.write.lane import LanePlace, LaneWriter
from recorderd.services.playback.pacing import MasterClock
from recorderd.services.playback.player import Player
from recorderd.services.playback.types import BadCursor, Cursor, End, Frame, Hole, PlayerOptions, SeekMode

pytestmark = [pytest.mark.looptime]


def numbers(items: list[Any]) -> list[int]:
    return [number(item) for item in items if isinstance(item, Frame) and not item.preroll]


@pytest.mark.parametrize("same_run", [True, False])
async def test_time_that_was_lived_twice_plays_twice(film: Film, same_run: bool) -> None:
    """8 s, then the wall clock is set back by 5 s, 12 s more: each recording plays through."""
    film.start()
    film.film(8, 25)
    if not same_run:
        film.stop()
        film.set_clock(-5 * S)
        film.start()
    else:
        film.set_clock(-5 * S)
    film.film(12, 25)
    film.stop()
    player = player_of(film)
    await player.seek(0, SeekMode.BEGIN)
    player.set_speed(math.inf)
    assert numbers(await collect(player)) == list(range(500))
    await player.seek(0, SeekMode.BEGIN)
    at = 0
    for count in (190, 20, 100, -120, 300, -1):
        items = await player.step(count)
        at = min(499, at + count)
        assert numbers(items)[-1] == at
    await player.seek(0, SeekMode.BEGIN)
    player.set_speed(1)
    began = asyncio.get_running_loop().time()
    assert numbers(await collect(player)) == list(range(500))
    assert 19 < asyncio.get_running_loop().time() - began < 21, "the clock steps back with the footage"


async def test_late_footage_fills_a_hole(film: Film) -> None:
    film.start()
    film.film(4, 25)
    hole_us = film.now_us
    film.hole(4 * S)
    film.film(4, 25)
    volume_id = film.log.identity.volume
    place = LanePlace(film.volume, "main", volume_id, film.log.identity.owner, film.log.identity.log, Origin.EDGE)
    film.stop()
    with LaneWriter(RealFs(), place, TRACK, Names("cam", "box")) as lane:
        lane.config(VIDEO)
        for i in range(100):
            n = 1000 + i
            data = n.to_bytes(8, "big") + bytes([n % 251]) * 50
            lane.extend(
                [Sample(data, i * 3600, i * 3600, int(KeyType.DELTA if i % 25 else KeyType.IDR), hole_us + i * 40_000)]
            )
    player = player_of(film)
    await player.seek(0, SeekMode.BEGIN)
    player.set_speed(math.inf)
    items = await collect(player)
    assert numbers(items) == [*range(100), *range(1000, 1100), *range(100, 200)]
    assert not [item for item in items if isinstance(item, Hole)]
    player.set_speed(0)
    await player.seek(hole_us + 500_000)
    assert number((await picture(player))[1]) == 1012
    assert numbers(await player.step(-13))[-1] == 99


class Failing(InlineStore):
    """A store whose chunk `seq` cannot be read."""

    def __init__(self, reader: Reader, seq: int, error: Exception) -> None:
        super().__init__(reader)
        original = reader.read

        def read(ref: Any) -> Any:
            if ref.seq == seq:
                raise error
            return original(ref)

        reader.read = read  # type: ignore[method-assign]


TROUBLES = [
    (ChunkCorrupt("bad"), State.STORAGE_ERROR, "chunk-damaged"),
    (ChunkGone("gone"), State.DELETED, "reclaimed"),
    (OSError(5, "input/output error"), State.STORAGE_ERROR, "chunk-damaged"),
]


@pytest.mark.parametrize(("error", "state", "reason"), TROUBLES)
@pytest.mark.parametrize("key", [True, False])
async def test_what_cannot_be_read_is_a_hole_and_play_goes_on(
    film: Film, error: Exception, state: State, reason: str, key: bool
) -> None:
    film.start()
    film.film(6, 25)
    film.stop()
    reader = film.reader()
    refs = list(reader.chunks(TRACK.track, 0, 1 << 61))
    bad = [ref for ref in refs if ref.recv_us >= T0 + 2 * S][0 if key else 1]
    player = Player(Failing(reader, bad.seq, error), [TRACK.track], LoopClock(film.now_us + 3600 * S))  # type: ignore[arg-type]
    for speed in (math.inf, 1, 2):
        await player.seek(0, SeekMode.BEGIN)
        player.set_speed(speed)
        items = await collect(player)
        assert numbers(items) == [*range(50 if key else 51), *range(75, 150)]
        (hole,) = [item for item in items if isinstance(item, Hole)]
        assert (hole.start_us, hole.end_us) == (bad.recv_us, T0 + 3 * S)
        assert (hole.causes[0].cause.state, hole.causes[0].cause.reason) == (state, reason)
    await player.seek(0, SeekMode.END)
    player.set_speed(-1)
    items = await collect(player)
    assert sorted(set(numbers(items))) == [*range(50 if key else 51), *range(75, 150)]
    assert len([item for item in items if isinstance(item, Hole)]) == 1
    await player.seek(T0 + 1_900_000)
    assert isinstance((await player.step(15))[-1], Hole), "the picture cannot be shown, and that is said"


async def test_a_cursor_goes_on_behind_its_frame(film: Film) -> None:
    film.start()
    film.film(6, 25, bframes=True)
    film.crash()
    film.wait(3 * S)
    film.start()
    film.film(6, 25)
    film.stop()
    player = player_of(film)
    await player.seek(0, SeekMode.BEGIN)
    player.set_speed(math.inf)
    frames = [item for item in await collect(player) if isinstance(item, Frame)]
    assert Cursor.parse(str(frames[3].cursor)) == frames[3].cursor
    for at in (0, 7, 24, 30, 149, 150, 200, 298):
        other = player_of(film)
        await other.seek(0, SeekMode.CURSOR, frames[at].cursor)
        other.set_speed(math.inf)
        assert numbers(await collect(other)) == [number(frame) for frame in frames[at + 1 :]]
    for text in ("", "x", "0:0:0:0", str(frames[0].cursor) + "0" * 30):
        with pytest.raises(BadCursor):
            Cursor.parse(text)
    with pytest.raises(BadCursor):
        await player.seek(0, SeekMode.CURSOR, replace(frames[0].cursor, run=12345))


async def test_play_follows_what_becomes_durable(film: Film) -> None:
    film.start()
    film.film(3, 25)
    reader = Reader(film.volume, "main", lambda: film.now_us, live=film.writer)
    clock = LoopClock(film.now_us)
    player = Player(InlineStore(reader), [TRACK.track], clock, PlayerOptions(follow=True))  # type: ignore[arg-type]
    await player.seek(0, SeekMode.BEGIN)
    player.set_speed(math.inf)
    items = await collect(player)
    assert numbers(items) == list(range(75))
    assert items[-1] == End("live", film.now_us)
    got: list[int] = []

    async def read() -> None:
        while len(got) < 50:
            got.extend(numbers(await player.next()))

    task = asyncio.ensure_future(read())
    await asyncio.sleep(1)
    film.film(1, 40)
    await asyncio.sleep(2)
    film.film(1, 10)
    await task
    assert got == list(range(75, 125)), "nothing twice, nothing missing, no second End"
    film.stop()


async def test_waiting_for_footage_costs_little(film: Film) -> None:
    """Two cameras on one clock whose recordings ended an hour ago: they look five times a second, no more."""
    film.start()
    film.film(2, 25)
    film.stop()
    clock = LoopClock(film.now_us + 3600 * S)
    master = MasterClock(clock)
    stores = [InlineStore(film.reader()) for _ in range(2)]
    options = PlayerOptions(follow=True)
    players = [Player(store, [TRACK.track], clock, options, master=master) for store in stores]  # type: ignore[arg-type]
    for player in players:
        await player.seek(0, SeekMode.END)
    master.jump(film.now_us)

    async def watch(player: Player) -> None:
        while True:
            await player.next()

    tasks = [asyncio.ensure_future(watch(player)) for player in players]
    await asyncio.sleep(1)
    before = sum(store.reads for store in stores)
    await asyncio.sleep(10)
    assert sum(store.reads for store in stores) - before < 10 * 5 * 2 * 4
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
