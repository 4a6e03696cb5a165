"""The client against the real server over real footage: scrubbing a day, pulling a night through cuts."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cutting import cutting
from footage_rig import Recipe, number_of, record

from mediadb.read.reader import Reader
from recorderd.client import (
    Chunk,
    ConnectOptions,
    Hole,
    Player,
    PlayOptions,
    Position,
    PullOptions,
    Refused,
    Retry,
    Unit,
    connect,
)
from tests.server.server_scene import CAMERAS, T0, S
from tests.stream_tcp.stream_scene import StreamScene, stream_scene

SCRUBS = int(os.environ.get("RECORDERD_SCRUBS", "1000" if os.environ.get("CI") else "300"))
DAY_S = 86_400
GATE = CAMERAS["gate"]
# A day that ends an hour before the server's now; three holes, at GOP boundaries.
DAY = Recipe(GATE, T0 - (DAY_S + 3600) * S, DAY_S, 2, 4, holes=((5_000, 8_000), (100_000, 100_008), (172_000, 172_200)))
NIGHT = Recipe(GATE, T0 - 7200 * S, 3600, fps=5, gop=10, size=1400, holes=((12_000, 12_600),), commit_s=5)


def numbers(units: list[Unit]) -> list[int]:
    return [number_of(unit.data) for unit in units]


@asynccontextmanager
async def serving(folder: Path, recipe: Recipe) -> AsyncIterator[StreamScene]:
    await asyncio.to_thread(record, folder / "volume", [recipe])
    async with stream_scene(folder) as scene:
        yield scene


def port_of(scene: StreamScene) -> int:
    return scene.server.addresses[0][1]


async def test_a_day_is_scrubbed_by_frame_number(tmp_path: Path) -> None:
    """Each answer is the picture on the screen at a random instant, behind exactly its GOP as PREROLL."""
    rng = random.Random(3)
    async with (
        serving(tmp_path, DAY) as scene,
        connect("127.0.0.1", port_of(scene)) as client,
        client.play("gate", "begin", PlayOptions(paused=True)) as player,
    ):
        for _ in range(SCRUBS):
            at = rng.randrange(DAY.start_us, DAY.time_us(DAY.frames))
            units = await player.show(at)
            wanted = DAY.shown(at)
            assert numbers(units) == list(range(wanted - wanted % DAY.gop, wanted + 1)), at
            assert [unit.preroll for unit in units] == [True] * (len(units) - 1) + [False]
            assert units[-1].data == DAY.data(wanted)
        for _ in range(SCRUBS // 20):
            await walk(player, rng)


async def walk(player: Player, rng: random.Random) -> None:
    """A few steps from a random place, both ways; holes are stepped over."""
    at = rng.randrange(DAY.start_us + 20 * S, DAY.time_us(DAY.frames - 20))
    number = numbers(await player.show(at))[-1]
    for frames in (1, -1, -7, 3):
        number = stepped(number, frames)
        assert numbers(await player.step(frames))[-1] == number


def stepped(number: int, frames: int) -> int:
    for _ in range(abs(frames)):
        number += 1 if frames > 0 else -1
        while DAY.missing(number):
            number += 1 if frames > 0 else -1
    return number


async def test_modes_edges_and_speeds(tmp_path: Path) -> None:
    short = Recipe(GATE, T0 - 3600 * S, 60, holes=((100, 150),))
    async with serving(tmp_path, short) as scene, connect("127.0.0.1", port_of(scene)) as client:
        async with client.play("gate", "begin", PlayOptions(paused=True)) as player:
            assert numbers(await player.show(short.time_us(37), "key")) == [30]
            assert numbers(await player.show(mode="next-key")) == [40]
            assert numbers(await player.show(mode="previous-key")) == [30]
            assert numbers(await player.show(mode="next-sequence")) == [150]
            assert numbers(await player.show(mode="previous-sequence"))[-1] == 0
            assert numbers(await player.show(mode="end"))[-1] == 299
            assert await player.step(1) == []
            assert numbers(await player.show(mode="begin")) == [0]
            assert await player.step(-1) == []
            assert numbers(await player.step(99))[-1] == 99
            assert numbers(await player.step(1)) == [150]
        options = PlayOptions(speed=math.inf)
        async with client.play("gate", short.time_us(90), options) as player:
            found: list[Any] = []
            async for item in player:
                found.append(item)
                if isinstance(item, Position) and item.end:
                    break
        shown = [number_of(item.data) for item in found if isinstance(item, Unit) and not item.preroll]
        assert shown == [*range(90, 100), *range(150, 300)]
        assert [isinstance(item, Hole) for item in found].count(True) == 1
        cursor = next(item.cursor for item in found if isinstance(item, Unit) and number_of(item.data) == 160)
        assert cursor is not None
        async with client.play("gate", cursor, options) as player:
            async for item in player:
                if isinstance(item, Unit) and not item.preroll:
                    assert number_of(item.data) == 161
                    break
        with pytest.raises(Refused, match="not-found"):
            async with client.play("nobody", "begin"):
                pass


def offline(volume: Path, recipe: Recipe) -> list[tuple[str, int, int, int]]:
    """Every sample, read without a server: (hash, pts, dts, recv)."""
    reader = Reader.open_offline(volume, "main", lambda: recipe.time_us(recipe.frames))
    try:
        return [
            (hashlib.sha256(sample.data).hexdigest(), sample.pts, sample.dts, sample.recv_us)
            for ref in reader.chunks(recipe.track, recipe.start_us, recipe.time_us(recipe.frames))
            for sample in reader.read(ref).samples
        ]
    finally:
        reader.close()


async def test_a_night_is_pulled_through_two_cuts(tmp_path: Path) -> None:
    """Cut inside a chunk, twice; every sample comes once, in order, and equals the volume's."""
    told: list[str] = []
    options = ConnectOptions(retry=Retry(0.01, 0.05, 20), on_reconnect=lambda what: told.append(what.reason))
    got: list[tuple[str, int, int, int]] = []
    holes: list[Hole] = []
    async with (
        serving(tmp_path, NIGHT) as scene,
        cutting(port_of(scene), [3_000_000, 9_000_000]) as proxy,
        connect("127.0.0.1", proxy.port, options) as client,
        client.pull("gate", NIGHT.start_us, NIGHT.time_us(NIGHT.frames)) as pull,
    ):
        async for item in pull:
            if isinstance(item, Chunk):
                got += [(hashlib.sha256(s.data).hexdigest(), s.pts, s.dts, s.recv_us) for s in item.samples()]
            elif isinstance(item, Hole):
                holes.append(item)
        assert pull.reconnects == 2
        assert len(proxy.passed) == 3
    assert len(told) == 2
    assert len(got) == NIGHT.frames - 600
    assert got == offline(tmp_path / "volume", NIGHT)
    assert [(hole.start_us, hole.end_us) for hole in holes] in (
        [], [(NIGHT.time_us(12_000), NIGHT.time_us(12_600))])  # fmt: skip


async def test_a_pull_follows_what_becomes_durable_and_a_part_can_be_left(tmp_path: Path) -> None:
    """Left after some chunks, gone on with their cursors in another client: equal to one pull."""
    short = Recipe(GATE, T0 - 3600 * S, 60, commit_s=1)
    async with serving(tmp_path, short) as scene:
        cursors: dict[str, str] = {}
        first: list[int] = []
        async with (
            connect("127.0.0.1", port_of(scene)) as client,
            client.pull("gate", short.start_us, short.time_us(300)) as pull,
        ):
            async for item in pull:
                if isinstance(item, Chunk):
                    first += [number_of(s.data) for s in item.samples()]
                    cursors[str(item.track)] = item.cursor
                if len(first) >= 100:
                    break
        rest: list[int] = []
        options = PullOptions(follow=True)
        async with (
            connect("127.0.0.1", port_of(scene)) as client,
            client.pull("gate", short.start_us, short.time_us(10_000), cursors, options) as pull,
        ):
            async for item in pull:
                if isinstance(item, Chunk):
                    rest += [number_of(s.data) for s in item.samples()]
                if isinstance(item, Position) and item.end == "live":
                    break
    assert first + rest == list(range(300))
