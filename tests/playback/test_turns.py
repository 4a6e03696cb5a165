"""Speeds and keys asked for at awkward moments: before the picture of a seek, on a key, behind a standstill."""

from __future__ import annotations

import asyncio

import pytest
from film_rig import FRAME_US, T0, TRACK, Film, InlineStore, LoopClock, S

from mediadb.ledger_facts import MediaSpan
from mediadb.types import KeyType, Sample
from recorderd.services.playback.order import LONGEST_US, PlayOrder
from recorderd.services.playback.player import Player
from recorderd.services.playback.types import Frame, Item, PlayerOptions, SeekMode

pytestmark = [pytest.mark.looptime]


def player_of(film: Film, **options: object) -> Player:
    store = InlineStore(film.reader())
    return Player(store, [TRACK.track], LoopClock(film.now_us + 3600 * S), PlayerOptions(**options))  # type: ignore[arg-type]


def times(items: list[Item], preroll: bool = False) -> list[int]:
    return [(one.time_us - T0) // FRAME_US for one in items if isinstance(one, Frame) and one.preroll == preroll]


async def test_backwards_from_a_seek_shows_its_picture_and_nothing_behind_it(film: Film) -> None:
    film.start()
    film.film(4, 50)
    film.stop()
    player = player_of(film)
    await player.seek(T0 + 85 * FRAME_US)
    player.set_speed(-1)
    got: list[Item] = []
    while len(times(got)) < 40:
        got += await player.next()
    shown = times(got)
    assert shown[0] == 85
    assert max(shown) == 85
    assert times(got[:36], preroll=True) == list(range(50, 85))


async def test_the_key_before_a_key_is_another_one(film: Film) -> None:
    """With B-frames a picture is shown later than it arrives: the key's own group begins before its time."""
    film.start()
    film.film(5, 25, bframes=True)
    film.stop()
    player = player_of(film)
    at = await player.seek(T0 + 80 * FRAME_US, SeekMode.KEY)
    seen = [at.time_us]
    for _ in range(3):
        seen.append((await player.seek(seen[-1], SeekMode.PREVIOUS_KEY)).time_us)
    assert [(one - T0) // FRAME_US for one in seen] == [77, 52, 27, 2]
    back = [seen[-1]]
    for _ in range(3):
        back.append((await player.seek(back[-1], SeekMode.NEXT_KEY)).time_us)
    assert back == seen[::-1]


async def test_no_key_is_passed_over_from_the_last_pictures_of_a_group(film: Film) -> None:
    film.start()
    film.film(3, 25, bframes=True)
    film.stop()
    player = player_of(film)
    last = max(shot.time_us for shot in film.shots[TRACK.track] if shot.gop == 0)
    assert (await player.seek(last, SeekMode.NEXT_KEY)).time_us == T0 + 27 * FRAME_US


async def test_a_picture_behind_a_standstill_comes_though_play_is_paused(film: Film) -> None:
    """The camera stood still inside a group and went on without a key."""
    film.start()
    film.film(1, 10)
    film.hole(30 * S)
    state = film.state(TRACK)
    for number in range(1, 101):
        dts = film.ticks[TRACK.track]
        film.ticks[TRACK.track] = dts + 3_600
        film.writer.take(
            [(state, Sample(b"after the standstill" * 900, dts, dts, int(KeyType.DELTA), film.now_us))], film.now()
        )
        film.wait(FRAME_US)
        if number % 25 == 0:
            film.writer.commit(film.now())
    film.film(1, 10)
    film.stop()
    player = player_of(film)
    player.set_speed(0)
    wanted = T0 + 30 * S + 90 * FRAME_US
    at = await player.seek(wanted)
    assert at.time_us == wanted
    got: list[Item] = []
    async with asyncio.timeout(60):
        while not times(got):
            got += await player.next()
    assert times(got) == [(wanted - T0) // FRAME_US]


def test_long_overlaps_are_looked_at_in_pieces() -> None:
    """A clock that was set back by days: one block may not hold them all."""
    day = 86_400 * S
    spans = [MediaSpan(T0 + 7 * S, T0 + 10 * day, 1, 0, 100), MediaSpan(T0 + 61 * S, T0 + 11 * day, 2, 0, 100)]
    order = PlayOrder(spans)
    for at in (T0 + 8 * S, T0 + day, T0 + 5 * day + 1, T0 + 10 * day - 1):
        low, high = order.block(at, 60 * S)
        assert low <= at < high
        assert high - low <= LONGEST_US + 120 * S
