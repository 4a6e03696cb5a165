"""When frames come: one clock, several cameras, holes, speeds, on virtual time."""

from __future__ import annotations

import asyncio

import pytest
from film_rig import FRAME_US, OTHER, SOUND, T0, TRACK, Film, InlineStore, LoopClock, S

from recorderd.services.playback.pacing import MasterClock
from recorderd.services.playback.player import Player
from recorderd.services.playback.types import End, Frame, Hole, Item, PlayerOptions, SeekMode

pytestmark = [pytest.mark.looptime]


def now_us() -> int:
    return round(asyncio.get_running_loop().time() * S)


async def play_out(player: Player) -> list[tuple[int, Item]]:
    """Every item with the virtual moment it came at, up to the End."""
    out: list[tuple[int, Item]] = []
    while True:
        items = await player.next()
        out += [(now_us(), item) for item in items]
        if isinstance(items[-1], End):
            return out


def frames_of(got: list[tuple[int, Item]]) -> list[tuple[int, Frame]]:
    return [(when, item) for when, item in got if isinstance(item, Frame)]


@pytest.fixture
def filmed(film: Film) -> Film:
    """4 s, a hole of 10 s, 4 s; with sound."""
    film.start()
    film.film(4, 25, sound=True)
    film.hole(10 * S)
    film.film(4, 25, sound=True)
    film.stop()
    return film


def player_of(film: Film, **options: object) -> Player:
    tracks = [TRACK.track, SOUND.track]
    return Player(InlineStore(film.reader()), tracks, LoopClock(film.now_us + 3600 * S), PlayerOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(("gaps", "length_us"), [("keep", 18 * S), ("skip", 8 * S)])
@pytest.mark.parametrize("speed", [0.5, 1.0, 4.0])
async def test_frames_come_when_they_are_due(filmed: Film, gaps: str, length_us: int, speed: float) -> None:
    player = player_of(filmed, gaps=gaps)
    await player.seek(0, SeekMode.BEGIN)
    player.set_speed(speed)
    began = now_us()
    got = await play_out(player)
    seen = [(when, frame) for when, frame in frames_of(got) if frame.track == TRACK.track]
    skipped = 18 * S - length_us
    for when, frame in seen:
        due = began + (frame.time_us - T0 - (skipped if frame.time_us > T0 + 5 * S else 0)) / speed
        assert abs(when - due) < 2_000, "to the millisecond on virtual time"
    assert len(seen) == 200
    heard = [frame for _, frame in frames_of(got) if frame.track == SOUND.track]
    assert [frame.sample.recv_us for frame in heard] == (filmed.sounds if speed == 1.0 else [])


async def test_keys_only_above_four_times(filmed: Film) -> None:
    player = player_of(filmed, gaps="keep")
    await player.seek(0, SeekMode.BEGIN)
    player.set_speed(16)
    got = frames_of(await play_out(player))
    keys = [shot.time_us for shot in filmed.shots[TRACK.track] if shot.key]
    assert [frame.time_us for _, frame in got] == keys
    assert all(frame.is_key for _, frame in got)
    assert abs(got[-1][0] - got[0][0] - (keys[-1] - keys[0]) / 16) < 5_000


async def test_reverse_takes_its_time(filmed: Film) -> None:
    player = player_of(filmed, gaps="keep")
    await player.seek(0, SeekMode.END)
    player.set_speed(-1)
    began = now_us()
    got = frames_of(await play_out(player))
    last = [when for when, frame in got if frame.time_us == T0]
    assert abs(last[0] - began - 17 * S) < S, "the first group is given when its end is reached"


async def test_a_change_of_speed_and_direction_goes_on_from_the_picture_shown(filmed: Film) -> None:
    player = player_of(filmed)
    await player.seek(T0 + S)
    shown: list[int] = []

    async def watch(seconds: float) -> None:
        deadline = now_us() + round(seconds * S)
        while now_us() < deadline:
            try:
                items = await asyncio.wait_for(player.next(), (deadline - now_us()) / S)
            except TimeoutError:
                return
            shown.extend(
                item.time_us
                for item in items
                if isinstance(item, Frame) and item.track == TRACK.track and not item.preroll
            )

    await watch(0.5)
    assert max(shown) == T0 + S + 480_000
    player.set_speed(2)
    await watch(0.5)
    assert abs(max(shown) - (T0 + 2_500_000)) <= 2 * FRAME_US
    player.set_speed(0)
    before = len(shown)
    await watch(5)
    assert len(shown) == before, "paused"
    player.set_speed(-1)
    shown.clear()
    await watch(0.2)
    assert shown
    assert max(shown) <= T0 + 2_500_000, "nothing later than the picture of the turn"
    await watch(1.0)
    player.set_speed(1)
    shown.clear()
    await watch(0.2)
    assert min(shown) >= T0 + 1_200_000


async def test_cameras_on_one_clock_stay_within_a_picture(film: Film) -> None:
    """One has a hole that the other has not: it waits there; what neither has is skipped."""
    film.start()
    film.film(2, 25)
    start = film.now_us
    film.film(6, 25, spec=OTHER)
    film.now_us = start
    film.hole(3 * S)
    film.film(3, 25)
    film.hole(20 * S)
    film.film(2, 25)
    film.ticks[OTHER.track] += 20 * 90_000
    film.now_us -= 2 * S
    film.film(2, 25, spec=OTHER)
    film.stop()
    reader = film.reader()
    clock = LoopClock(film.now_us + 3600 * S)
    master = MasterClock(clock)
    players = [Player(InlineStore(reader), [spec.track], clock, master=master) for spec in (TRACK, OTHER)]
    master.hold("seek")
    first = film.shots[OTHER.track][0].time_us
    for player in players:
        await player.seek(first)
    master.jump(first)
    master.release("seek")
    began = now_us()
    got = await asyncio.gather(*(play_out(player) for player in players))
    timed = sorted(
        (when, frame.time_us) for one in got for when, frame in frames_of(one) if not frame.preroll and when > began
    )
    for when, frame in frames_of(got[1])[:150]:
        assert abs((when - began) - (frame.time_us - first)) < FRAME_US, "what one has is not skipped by the other"
    newest = 0
    for _, time_us in timed:
        assert time_us >= newest - FRAME_US, "never more than a picture apart"
        newest = max(newest, time_us)
    assert now_us() - began < 12 * S, "the 20 s that none has were skipped"
    holes = [[item for _, item in one if isinstance(item, Hole)] for one in got]
    assert [len(one) for one in holes] == [2, 1]


async def test_the_clock_stands_while_a_member_holds_it() -> None:
    clock = LoopClock()
    master = MasterClock(clock, 1000)
    await asyncio.sleep(1)
    master.hold("a")
    master.hold("b")
    await asyncio.sleep(5)
    assert master.media_us() == 1000 + S
    master.release("a")
    await asyncio.sleep(5)
    assert master.media_us() == 1000 + S
    master.release("b")
    await asyncio.sleep(2)
    assert master.media_us() == 1000 + 3 * S
    master.set_speed(-2)
    await asyncio.sleep(1)
    assert master.media_us() == 1000 + S
