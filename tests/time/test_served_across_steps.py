"""What was recorded while the clock was set comes out of every door: each picture once, in order, and no loop."""

from __future__ import annotations

import asyncio
import io
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import av
import pytest
from time_rig import FRAME_US, GOP, HOUR, MINUTE, YEAR, S, World, number_of

from mediadb.aio import StoreOptions
from recorderd.core.timerange import format_time
from recorderd.services.playback.player import Player
from recorderd.services.playback.types import End, Frame, PlayerOptions
from tests.server.server_scene import scene
from tests.stream_tcp.raw_peer import CHUNK, ENDED, OK, PULL
from tests.stream_tcp.stream_scene import stream_scene
from tests.stream_tcp.test_stream_pull import samples

NEAR = (S, -S, 40 * S, -40 * S, HOUR, -HOUR)
FAR = (10 * YEAR, -10 * YEAR)
SET_AT = 91 * S // FRAME_US
BASE = "/api/v1/cameras/gate/"


async def filmed(folder: Path, step_us: int) -> World:
    """A minute and a half, the clock is set by `step_us` inside a group of pictures, a minute and a half."""
    options = StoreOptions(create=True, slot_us=3_600 * S, commit_us=0, segment_us=40 * S)
    world = await World(folder / "volume", options=options).start()
    await world.run(91 * S)
    await world.step(step_us)
    await world.run(89 * S)
    await world.stop()
    return world


def span(world: World) -> tuple[int, int]:
    return min(world.times.values()), max(world.times.values()) + FRAME_US


def stretches(world: World) -> list[tuple[int, int]]:
    """[start, end) in recorder UTC before and after the step, with a second of room where nothing else is."""
    half = SET_AT
    parts = (world.sent[:half], world.sent[half:])
    return [(world.times[part[0]], world.times[part[-1]] + FRAME_US) for part in parts]


def of_mp4(raw: bytes) -> list[int]:
    with av.open(io.BytesIO(raw)) as movie:
        return [number_of(bytes(packet)) for packet in movie.demux(video=0) if packet.size]


def in_passes(numbers: list[int], world: World, decoded: bool = False) -> bool:
    """Each picture once, each pass of the clock in order; which pass is first is not said. `decoded`: of a group that
    was cut by a step back, the rest may miss, for its key is in the other pass."""
    first, second = world.sent[:SET_AT], world.sent[SET_AT:]
    cut = world.sent[SET_AT + -SET_AT % GOP :]
    return numbers in (first + second, second + first) or (decoded and numbers in (cut + first, first + cut))


def query(start_us: int, end_us: int) -> str:
    return f"start={format_time(start_us)}&end={format_time(end_us)}"


async def body(client: Any, path: str) -> bytes:
    async with client.get(path) as answer:
        raw: bytes = await answer.read()
        assert answer.status == 200, raw
        return raw


def at_least(world: World, start_us: int, end_us: int) -> set[int]:
    return {number for number, time_us in world.times.items() if start_us <= time_us < end_us}


@pytest.mark.parametrize("step_us", [*NEAR, *FAR])
async def test_a_range_gives_each_of_its_pictures_once_and_in_order(tmp_path: Path, step_us: int) -> None:
    world = await filmed(tmp_path, step_us)
    assert in_passes(world.served(), world)
    low, high = span(world)
    starts = [*range(low, low + 4 * MINUTE, 37 * S), *(start for start, _ in stretches(world))]
    for start_us in starts:
        for length_us in (S, 13 * S, 100 * S, high - low):
            got = world.served(start_us, start_us + length_us)
            assert len(got) == len(set(got)), "none twice"
            assert sum(a > b for a, b in pairwise(got)) <= (step_us < 0), "in the order they were filmed, pass by pass"
            assert at_least(world, start_us, start_us + length_us) <= set(got)
            assert len(got) - len(at_least(world, start_us, start_us + length_us)) <= 4 * GOP, "whole groups, no more"


@pytest.mark.parametrize("step_us", [*NEAR, *FAR])
async def test_a_seek_finds_each_picture(tmp_path: Path, step_us: int) -> None:
    world = await filmed(tmp_path, step_us)
    reader = world.reader()
    by_time: dict[int, set[int]] = {}
    for number, time_us in world.times.items():
        by_time.setdefault(time_us, set()).add(number)
    for time_us, numbers in [*by_time.items()][::7]:
        got = world.served(time_us, time_us + 1)
        assert numbers <= set(got), "every picture of an instant that the clock showed twice"
        if numbers & set(range(SET_AT, SET_AT + -SET_AT % GOP)):
            continue  # its key was shown by another clock
        key = reader.locate_key(world.track, time_us)
        assert key is not None
        assert 0 <= time_us - key.recv_us < GOP * FRAME_US
    reader.close()


@pytest.mark.parametrize("step_us", NEAR)
async def test_files_and_playlists_hold_each_picture_once(tmp_path: Path, step_us: int) -> None:
    world = await filmed(tmp_path, step_us)
    low, high = span(world)
    async with scene(tmp_path) as server:
        server.clock.step(high - server.clock.utc_us() + MINUTE)
        ask = query(low, high)
        assert in_passes(of_mp4(await body(server.client, f"{BASE}media.mp4?{ask}")), world, decoded=True)
        list_url = f"{BASE}hls/recorded.m3u8?{ask}"
        text = (await body(server.client, list_url)).decode()
        assert text.endswith("#EXT-X-ENDLIST\n")
        found, head = [], b""
        for line in text.splitlines():
            if match := re.fullmatch(r'#EXT-X-MAP:URI="(.*)"', line):
                head = await body(server.client, urljoin(list_url, match[1]))
            elif not line.startswith("#"):
                found += of_mp4(head + await body(server.client, urljoin(list_url, line)))
        assert in_passes(found, world, decoded=True)
        timeline = await server.json(f"{BASE}coverage?{ask}")
        assert "unexplained" not in {one["state"] for one in timeline["tracks"][0]["intervals"]}


@pytest.mark.parametrize("step_us", [*NEAR, *FAR])
async def test_a_pull_gives_each_chunk_once_wherever_it_is_taken_up_again(tmp_path: Path, step_us: int) -> None:
    world = await filmed(tmp_path, step_us)
    low, high = span(world)
    async with stream_scene(tmp_path) as server:
        server.clock.step(high - server.clock.utc_us() + MINUTE)

        async def pulled(**head: Any) -> list[Any]:
            peer = await server.peer()
            peer.send(PULL, 1, camera="gate", tracks=["video"], **head)
            assert (await peer.next()).type == OK
            got = [one for one in await peer.until(ENDED) if one.type == CHUNK]
            await peer.close()
            return got

        def numbers(chunks: list[Any]) -> list[int]:
            return [number_of(data) for chunk in chunks for data, *_ in samples(chunk)]

        chunks = await pulled(start_us=low, end_us=high)
        whole = numbers(chunks)
        assert in_passes(whole, world)
        for cut in range(1, len(chunks), 17):
            cursor = {chunks[cut - 1].head["track"]: chunks[cut - 1].head["cursor"]}
            rest = await pulled(start_us=low, end_us=high, cursor=cursor)
            assert numbers(chunks[:cut]) + numbers(rest) == whole


class Inline:
    """Reads at once on the test's own thread."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    async def read(self, call: Any, *args: object) -> Any:
        return call(*args)


@pytest.mark.parametrize("step_us", [*NEAR, *FAR])
async def test_playback_goes_through_a_step_and_ends(tmp_path: Path, step_us: int) -> None:
    world = await filmed(tmp_path, step_us)
    low, high = span(world)
    world.clock.step(high - world.clock.utc_us() + MINUTE)
    reader = world.reader()
    player = Player(Inline(reader), [world.track], world.clock, PlayerOptions())  # type: ignore[arg-type]
    await player.seek(low + GOP * FRAME_US if step_us < -HOUR // 2 else low)  # the second pass begins inside a group
    player.set_speed(math.inf)
    shown: list[int] = []
    async with asyncio.timeout(60):
        while True:
            items = await player.next()
            shown += [number_of(one.sample.data) for one in items if isinstance(one, Frame) and not one.preroll]
            if isinstance(items[-1], End):
                break
    missing = set(world.sent) - set(shown)
    assert missing <= set(range(SET_AT, SET_AT + 2 * GOP)), "at most what stands before the first key of a pass"
    assert len(shown) == len(set(shown))
    assert sum(a > b for a, b in pairwise(shown)) <= (step_us < 0)
    await player.close()
    reader.close()
