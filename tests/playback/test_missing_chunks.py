"""A chunk is gone inside a group: what refers to it is not shown; a camera that stood still loses nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from film_rig import T0, TRACK, Film, S
from test_seek_step import collect, number, picture, player_of

from mediadb.types import KeyType, Sample, State
from recorderd.server.http.frame_routes import read_group
from recorderd.services.playback.types import BadCursor, Frame, Hole, Item, SeekMode

pytestmark = [pytest.mark.looptime]

THERE = [*range(100), *range(550, 625)]


def numbers(items: list[Item]) -> list[int]:
    return [number(item) for item in items if isinstance(item, Frame) and not item.preroll]


@pytest.fixture
def holed(film: Film) -> Film:
    """A group of 20 s over six segments, the second of which is gone: 4 s to 8 s of the recording."""
    film.segment_us = 4 * S
    film.start()
    film.film(1, 50)
    film.film(1, 500)
    film.film(3, 25)
    film.stop()
    files = sorted(film.volume.rglob("*.rseg"))
    assert len(files) == 7
    files[1].unlink()
    return film


@pytest.mark.parametrize("speed", [math.inf, 1, 2])
async def test_play_goes_on_at_the_next_key(holed: Film, speed: float) -> None:
    player = player_of(holed)
    await player.seek(0, SeekMode.BEGIN)
    player.set_speed(speed)
    items = await collect(player)
    assert numbers(items) == THERE
    (hole,) = [item for item in items if isinstance(item, Hole)]
    assert (hole.start_us, hole.end_us) == (T0 + 4 * S, T0 + 22 * S)
    assert (hole.causes[0].start_us, hole.causes[-1].end_us) == (hole.start_us, hole.end_us)
    assert {one.cause.state for one in hole.causes} == {State.STORAGE_ERROR}, "what cannot be shown is not recorded"


async def test_backwards(holed: Film) -> None:
    player = player_of(holed)
    await player.seek(0, SeekMode.END)
    player.set_speed(-1)
    items = await collect(player)
    assert sorted(set(numbers(items))) == THERE
    assert len([item for item in items if isinstance(item, Hole)]) == 1


async def test_seeks_and_steps(holed: Film) -> None:
    player = player_of(holed)
    for second in (5, 9, 15, 21):
        await player.seek(T0 + second * S)
        assert number((await picture(player))[1]) == 99, "the last picture before the hole"
    assert (await player.seek(T0 + 9 * S, SeekMode.NEXT_KEY)).time_us == T0 + 22 * S
    await player.seek(T0 + 95 * 40_000)
    assert number((await picture(player))[1]) == 95
    items = await player.step(10)
    assert numbers(items) == [555]
    assert len([item for item in items if isinstance(item, Hole)]) == 1
    assert numbers(await player.step(-10))[-1] == 95


async def test_a_still_is_of_what_can_be_decoded(holed: Film) -> None:
    """A picture of the time behind the hole would be made of deltas whose references are gone."""
    reader = holed.reader()
    for second in (5, 9, 15, 21):
        group = read_group(reader, TRACK.track, T0 + second * S)
        assert group is not None
        assert len(group.samples) == 50, "the group's first pictures, up to the hole"
        assert group.samples[-1].recv_us == T0 + 99 * 40_000


async def test_a_camera_that_stood_still_keeps_its_pictures(film: Film) -> None:
    """Over a change of segments, with two statements in between: their numbers are nobody's pictures."""
    film.segment_us = 4 * S
    film.start()
    film.film(1, 60)
    film.hole(3 * S)
    film.hole(30 * S)
    state = film.state(TRACK)
    for n in range(60, 200):
        if n == 130:
            film.hole(2 * S)
        dts = film.ticks[TRACK.track]
        film.ticks[TRACK.track] = dts + 3_600
        data = n.to_bytes(8, "big") + bytes([n % 251]) * 50
        film.writer.take([(state, Sample(data, dts, dts, int(KeyType.DELTA), film.now_us))], film.now())
        film.wait(40_000)
        if n % 25 == 0:
            film.writer.commit(film.now())
    film.writer.commit(film.now())
    film.stop()
    player = player_of(film)
    await player.seek(0, SeekMode.BEGIN)
    player.set_speed(math.inf)
    items = await collect(player)
    assert numbers(items) == list(range(200))
    assert len([item for item in items if isinstance(item, Hole)]) == 2


@pytest.mark.parametrize(("removed", "next_number"), [(2, 75), (4, 125), (8, None)])
async def test_a_cursor_whose_chunk_was_reclaimed_goes_on_behind_it(
    film: Film, removed: int, next_number: int | None
) -> None:
    """In the same run, then in the next one; with nothing left there is no place."""
    film.segment_us = 1 * S
    film.start()
    film.film(5, 25)
    film.stop()
    film.wait(60 * S)
    film.start()
    film.film(3, 25)
    film.stop()
    player = player_of(film)
    await player.seek(T0 + 30 * 40_000)
    cursor = (await picture(player))[1].cursor
    files = sorted(film.volume.rglob("*.rseg"))
    assert len(files) == 8
    first = {2: 1, 4: 0, 8: 0}[removed]
    for path in files[first : max(removed + 1, first)]:
        path.unlink()
    player = player_of(film)
    if next_number is None:
        with pytest.raises(BadCursor):
            await player.seek(0, SeekMode.CURSOR, cursor)
        return
    at = await player.seek(0, SeekMode.CURSOR, cursor)
    assert number((await picture(player))[1]) == next_number
    player.set_speed(math.inf)
    assert at.time_us == film.shots[TRACK.track][next_number].time_us
    assert numbers(await collect(player)) == list(range(next_number + 1, 200))
    with pytest.raises(BadCursor):
        await player.seek(0, SeekMode.CURSOR, replace(cursor, run=12345))
