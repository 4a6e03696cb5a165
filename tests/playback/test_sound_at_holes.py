"""Sound beside pictures where pictures are missing, where the clock was set back, and behind the last one."""

from __future__ import annotations

import asyncio

import pytest
from film_rig import FRAME_US, SOUND, T0, TRACK, Film, InlineStore, LoopClock, S

from mediadb.types import KeyType, Sample
from recorderd.services.playback.player import Player
from recorderd.services.playback.types import End, Frame, Item, PlayerOptions, SeekMode

pytestmark = [pytest.mark.looptime]


def sound_alone(film: Film, us: int) -> None:
    """Sound goes on while no picture comes."""
    for _ in range(us // FRAME_US):
        ticks = film.ticks.get(SOUND.track, 0)
        film.ticks[SOUND.track] = ticks + 320
        sample = Sample(film.now_us.to_bytes(8, "big"), ticks, ticks, int(KeyType.AUDIO), film.now_us + 1)
        film.writer.take([(film.state(SOUND), sample)], film.now())
        film.wait(FRAME_US)
    film.writer.commit(film.now())


async def play_out(film: Film, **options: object) -> tuple[list[Item], int]:
    """All items of play at speed 1, and how long it took."""
    store = InlineStore(film.reader())
    player = Player(store, [TRACK.track, SOUND.track], LoopClock(film.now_us + 3600 * S), PlayerOptions(**options))  # type: ignore[arg-type]
    await player.seek(0, SeekMode.BEGIN)
    began = asyncio.get_running_loop().time()
    out: list[Item] = []
    while not out or not isinstance(out[-1], End):
        out += await player.next()
    return out, round((asyncio.get_running_loop().time() - began) * S)


def heard(items: list[Item]) -> list[int]:
    return [one.sample.recv_us for one in items if isinstance(one, Frame) and one.track == SOUND.track]


async def test_sound_that_comes_back_before_the_picture_does_not_stretch_a_skipped_hole(film: Film) -> None:
    """After a reconnect the first sound is there before the first key picture."""
    film.start()
    film.film(4, 25, sound=True)
    film.hole(3600 * S)
    sound_alone(film, S)
    film.film(4, 25, sound=True)
    film.stop()
    items, took_us = await play_out(film, gaps="skip")
    assert took_us < 10 * S, "the hour was waited for"
    assert heard(items) == film.sounds


async def test_a_day_of_sound_without_pictures_is_not_read_into_memory(film: Film) -> None:
    film.start()
    film.film(4, 25, sound=True)
    film.hole(S)
    sound_alone(film, 120 * S)
    film.film(4, 25, sound=True)
    film.stop()
    items, took_us = await play_out(film, gaps="skip")
    assert heard(items) == film.sounds
    assert took_us < 10 * S


async def test_two_scenes_of_one_time_have_their_own_sound(film: Film) -> None:
    film.start()
    film.film(4, 25, sound=True)
    film.set_clock(-3 * S)
    film.film(4, 25, sound=True)
    film.stop()
    items, _ = await play_out(film)
    assert heard(items) == film.sounds
    assert film.sounds[0] - 1 == T0
