"""Any order of clock steps, outages and restarts: all footage once, every instant explained, nothing hidden."""

from __future__ import annotations

import random
from bisect import bisect_right
from pathlib import Path

import pytest
from time_rig import DAY, FRAME_US, HOUR, MINUTE, YEAR, S, World

from mediadb.types import Interval

STEPS = (S, -S, 30 * S, -30 * S, 2 * MINUTE, -2 * MINUTE, HOUR, -HOUR, 2 * DAY, -2 * DAY, 10 * YEAR, -10 * YEAR)
NEAR_US = 3 * S  # around a step, a break or a restart: who is to blame for a moment may be either


async def live(world: World, rng: random.Random) -> list[int]:
    """A life of eight turns; gives the times (UTC) at which something changed."""
    turns = []
    await world.start()
    for _ in range(8):
        turns.append(world.clock.utc_us())
        turn = rng.choice(("step", "step", "step late", "break", "pause", "restart", "crash"))
        if turn == "break":
            world.disconnect()
            await world.run(rng.randrange(5, 90) * S)
            turns.append(world.clock.utc_us())
            world.connect()
        elif turn == "pause":
            world.paused = True
            await world.run(rng.choice((3, 8, 20, 60)) * S)
            turns.append(world.clock.utc_us())
            world.paused = False
        elif turn == "restart":
            await world.restart(rng.randrange(5, 60) * S, rng.choice((0, 0, -HOUR, HOUR)))
            turns.append(world.clock.utc_us())
        elif turn.startswith("step"):
            if rng.random() < 0.3:
                world.disconnect()
                await world.run(20 * S)
                turns.append(world.clock.utc_us())
            await world.step(rng.choice(STEPS), told=turn == "step")
            turns.append(world.clock.utc_us())
            if not world.connected:
                await world.run(20 * S)
                turns.append(world.clock.utc_us())
                world.connect()
        await world.run(rng.randrange(10, 60) * S)
    turns.append(world.clock.utc_us())
    return turns


def at(intervals: list[Interval], time_us: int) -> Interval:
    found = intervals[bisect_right([one.start_us for one in intervals], time_us) - 1]
    assert found.start_us <= time_us < found.end_us
    return found


@pytest.mark.parametrize("seed", range(30))
async def test_a_life_with_a_clock_that_is_set(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path)
    turns = await live(world, random.Random(seed))
    await world.stop()
    assert sorted(world.served()) == world.sent, "each picture once"
    low, high = min(world.lived), max(world.lived) + FRAME_US
    intervals = world.coverage(low - MINUTE, high + MINUTE)
    odd = [one for one in intervals if str(one.cause.state) == "unexplained" and one.end_us - one.start_us > NEAR_US]
    assert not odd, odd
    turns.sort()
    for time_us, states in world.lived.items():
        near = bisect_right(turns, time_us + NEAR_US) - bisect_right(turns, time_us - NEAR_US)
        found = at(intervals, time_us + FRAME_US // 2)
        where = ((time_us - low) / S, states, found)
        if "media" in states:
            assert near or str(found.cause.state) == "recorded", where
        else:
            assert near or str(found.cause.state) == "camera-offline", where
