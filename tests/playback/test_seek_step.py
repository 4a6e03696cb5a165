"""Seeks, steps and full-speed play compared with the plain list of what was written."""

from __future__ import annotations

import math
import random

import pytest
from film_rig import FRAME_US, T0, TRACK, Film, InlineStore, LoopClock, S, Shot

from recorderd.services.playback.player import Player
from recorderd.services.playback.types import End, Frame, Hole, Item, PlayerOptions, SeekMode

pytestmark = [pytest.mark.looptime]


def number(frame: Frame) -> int:
    found = int.from_bytes(frame.sample.data[:8], "big")
    assert frame.sample.data[8:] == bytes([found % 251]) * (len(frame.sample.data) - 8), "wrong bytes"
    return found


def player_of(film: Film, **options: object) -> Player:
    store = InlineStore(film.reader())
    return Player(store, [TRACK.track], LoopClock(film.now_us + 3600 * S), PlayerOptions(**options))  # type: ignore[arg-type]


async def collect(player: Player) -> list[Item]:
    out: list[Item] = []
    while True:
        items = await player.next()
        out += items
        if isinstance(items[-1], End):
            return out


def shown_at(film: Film, time_us: int) -> Shot:
    return max((shot for shot in film.shown() if shot.time_us <= time_us), key=lambda shot: shot.time_us)


async def picture(player: Player) -> tuple[list[Frame], Frame]:
    """What comes at once after a seek while paused: preroll and the picture."""
    got: list[Frame] = []
    while not got or got[-1].time_us != player.position().time_us or got[-1].preroll:
        got += [item for item in await player.next() if isinstance(item, Frame)]
    return got[:-1], got[-1]


def decodable(film: Film, preroll: list[Frame], last: Frame) -> bool:
    """From a key on, in decode order without a hole (leading pictures of the first group may be missing)."""
    numbers = [number(frame) for frame in [*preroll, last]]
    shots = film.shots[TRACK.track]
    missing = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers))
    return (
        shots[numbers[0]].key
        and numbers == sorted(numbers)
        and all(shots[n].time_us < shots[numbers[0]].time_us for n in missing)
    )


def make(film: Film, gop: int, bframes: bool, open_gop: bool) -> None:
    """Two runs, one killed; holes of 1 s to 4 s; groups across commits and segments."""
    count = max(2, 120 // gop)
    film.start()
    film.film(count, gop, bframes=bframes, open_gop=open_gop)
    film.hole(4 * S)
    film.film(count, gop, bframes=bframes, open_gop=open_gop)
    film.crash()
    film.wait(2 * S)
    film.start()
    film.film(count, gop, bframes=bframes, open_gop=open_gop)
    film.hole(3 * S)
    film.film(2, gop, bframes=bframes, open_gop=open_gop)
    film.stop()


CASES = [(1, False, False), (2, False, False), (7, True, False), (25, True, True), (12, False, True), (50, True, False)]


@pytest.mark.parametrize(("gop", "bframes", "open_gop"), CASES)
async def test_random_seeks_show_the_picture_of_that_time(film: Film, gop: int, bframes: bool, open_gop: bool) -> None:
    make(film, gop, bframes, open_gop)
    player = player_of(film)
    player.set_speed(0)
    rng = random.Random(gop)
    first = min(shot.time_us for shot in film.shown())
    for _ in range(40):
        time_us = rng.randrange(first, film.now_us + 2 * S)
        position = await player.seek(time_us)
        want = shown_at(film, time_us)
        preroll, shown = await picture(player)
        assert (number(shown), shown.time_us) == (want.number, want.time_us)
        assert position.time_us == want.time_us
        assert all(frame.preroll or frame.time_us > shown.time_us for frame in preroll)
        assert decodable(film, preroll, shown)


@pytest.mark.parametrize(("gop", "bframes", "open_gop"), CASES)
async def test_steps_go_through_every_picture_both_ways(film: Film, gop: int, bframes: bool, open_gop: bool) -> None:
    make(film, gop, bframes, open_gop)
    player = player_of(film)
    order = film.shown()
    await player.seek(0, SeekMode.BEGIN)
    at = 0
    rng = random.Random(gop)
    for count in [*([1] * 30), *([-1] * 15), *(rng.choice((-37, -11, -3, 3, 11, 37, 90)) for _ in range(20))]:
        items = await player.step(count)
        goal = max(0, min(len(order) - 1, at + count))
        if goal == at:
            assert [type(item) for item in items] == [End]
            continue
        frames = [item for item in items if isinstance(item, Frame)]
        assert number(frames[-1]) == order[goal].number
        assert not frames[-1].preroll
        assert all(frame.preroll for frame in frames[:-1])
        assert decodable(film, frames[:-1], frames[-1])
        holes = [item for item in items if isinstance(item, Hole)]
        assert len(holes) == abs(order[goal].part - order[at].part), "every hole that was passed is told"
        at = goal


@pytest.mark.parametrize(("gop", "bframes", "open_gop"), CASES)
async def test_full_speed_gives_every_frame_once_and_every_hole(
    film: Film, gop: int, bframes: bool, open_gop: bool
) -> None:
    make(film, gop, bframes, open_gop)
    player = player_of(film)
    await player.seek(0, SeekMode.BEGIN)
    player.set_speed(math.inf)
    items = await collect(player)
    frames = [item for item in items if isinstance(item, Frame)]
    assert [number(frame) for frame in frames] == [shot.number for shot in film.shots[TRACK.track] if not shot.leading]
    assert not any(frame.preroll for frame in frames)
    holes = [item for item in items if isinstance(item, Hole)]
    words = [{(str(one.cause.state), one.cause.reason) for one in hole.causes} for hole in holes]
    assert len(holes) == 3
    assert ("camera-offline", "stall") in words[0]
    assert ("server-down", "crash") in words[1]
    assert ("camera-offline", "stall") in words[2]
    assert isinstance(items[-1], End)
    assert items[-1].reason == "end"


@pytest.mark.parametrize(("gop", "bframes", "open_gop"), CASES)
async def test_reverse_is_the_groups_backwards(film: Film, gop: int, bframes: bool, open_gop: bool) -> None:
    make(film, gop, bframes, open_gop)
    player = player_of(film)
    await player.seek(0, SeekMode.END)
    player.set_speed(0)
    await picture(player)
    player.set_speed(-1)
    items = await collect(player)
    assert isinstance(items[-1], End)
    assert items[-1].reason == "begin"
    got = [number(item) for item in items if isinstance(item, Frame) and not item.preroll]
    shots = film.shots[TRACK.track]
    want: list[int] = []
    for group in range(shots[-1].gop, -1, -1):
        own = [shot for shot in shots if shot.gop == group]
        later = [shot for shot in shots if shot.gop == group + 1 and shot.part == own[0].part]
        want += [shot.number for shot in own if shot.time_us >= own[0].time_us]
        want += [shot.number for shot in later if shot.time_us < later[0].time_us and not shot.leading]
    if bframes and open_gop:
        assert sorted(got) == sorted(want)
    else:
        assert got == want
    assert len([item for item in items if isinstance(item, Hole)]) == 3


async def test_the_modes_of_seek(film: Film) -> None:
    make(film, 10, False, False)
    player = player_of(film)
    player.set_speed(0)
    keys = [shot.time_us for shot in film.shots[TRACK.track] if shot.key]
    parts = sorted({shot.part for shot in film.shots[TRACK.track]})
    starts = [min(shot.time_us for shot in film.shots[TRACK.track] if shot.part == part) for part in parts]
    at = keys[5] + 3 * FRAME_US
    assert (await player.seek(at, SeekMode.KEY)).time_us == keys[5]
    assert (await player.seek(at, SeekMode.NEXT_KEY)).time_us == keys[6]
    assert (await player.seek(keys[5], SeekMode.PREVIOUS_KEY)).time_us == keys[4]
    assert (await player.seek(at, SeekMode.NEXT_SEQUENCE)).time_us == starts[1]
    assert (await player.seek(starts[1], SeekMode.NEXT_SEQUENCE)).time_us == starts[2]
    assert (await player.seek(starts[2] + S, SeekMode.PREVIOUS_SEQUENCE)).time_us == starts[1]
    assert (await player.seek(starts[1] - S, SeekMode.PREVIOUS_SEQUENCE)).time_us == starts[0]
    begin = await player.seek(0, SeekMode.BEGIN)
    assert (begin.time_us, begin.previous_us, begin.next_us) == (keys[0], None, keys[1])
    assert (await player.seek(0, SeekMode.END)).time_us == film.shown()[-1].time_us
    assert begin.time_us == T0
