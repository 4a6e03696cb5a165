"""What a wrong clock recorded is neither deleted at once nor kept for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from mediadb.aio import StoreOptions
from recorderd.core.clock import FakeClock
from tests.time.time_rig import DAY, HOUR, MINUTE, T0, YEAR, S, World


def options(**limits: int) -> StoreOptions:
    return StoreOptions(create=True, slot_us=3_600 * S, commit_us=0, segment_us=20 * S, **limits)  # type: ignore[arg-type]


async def looked(world: World, times: int = 3) -> None:
    """Retention looks at what there is."""
    for _ in range(times):
        await world.run(10 * S)
        assert world.store is not None
        world.store._thread.beside(world.store._reclaim_step)
        await world.flush()


async def hours(world: World, count: int) -> None:
    """Hours in which nothing is filmed: after a doubt about the clock, age removes a part of what is overdue."""
    for _ in range(count):
        world.clock.advance(HOUR)
        world.store._thread.beside(world.store._reclaim_step)  # type: ignore[union-attr]
        await world.flush()


@pytest.mark.parametrize("step_us", [10 * YEAR, 2 * DAY])
async def test_a_step_forward_deletes_nothing_by_age(tmp_path: Path, step_us: int) -> None:
    world = await World(tmp_path, options=options(retention_us=DAY)).start()
    await world.run(2 * MINUTE)
    await looked(world)
    await world.step(step_us)
    await looked(world, 6)
    assert sorted(world.served()) == world.sent
    await world.step(-step_us)
    await looked(world)
    assert sorted(world.served()) == world.sent, "and nothing after it was set right"
    await world.stop()


async def test_footage_of_1970_waits_a_day_then_goes_like_any_old_one(tmp_path: Path) -> None:
    world = await World(tmp_path, clock=FakeClock(30 * S), options=options(retention_us=30 * DAY)).start()
    await looked(world, 6)
    await world.step(T0 - world.clock.utc_us())
    await looked(world)
    assert sorted(world.served()) == world.sent, "not at once"
    world.disconnect()
    await hours(world, 24 + 30)
    assert not world.served(0, YEAR), "and not for ever"
    assert world.served(T0, T0 + HOUR)
    assert {word[2:] for word in world.words(40 * S, 80 * S)} == {("deleted", "age")}
    await world.stop()


async def test_footage_of_a_clock_ten_years_ahead_goes_when_what_came_after_it_goes(tmp_path: Path) -> None:
    world = await World(tmp_path, options=options(retention_us=30 * DAY)).start()
    await looked(world, 6)
    await world.step(10 * YEAR)
    await world.run(MINUTE)
    ahead = (T0 + 9 * YEAR, T0 + 11 * YEAR)
    assert len(world.served(*ahead)) == 120
    await world.step(-10 * YEAR)
    await world.run(MINUTE)
    world.clock.advance(20 * DAY)
    await world.run(MINUTE)
    await looked(world)
    assert len(world.served(*ahead)) == 120, "twenty days: nothing is too old"
    for _ in range(17):
        world.clock.advance(2 * DAY)
        await world.run(10 * S)
        await hours(world, 2)
    assert not world.served(*ahead)
    assert world.served()[-1] == world.sent[-1]
    await world.stop()
