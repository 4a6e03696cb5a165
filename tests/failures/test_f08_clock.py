"""8. The clock goes back an hour, on a day, starts in 1970.

Elsewhere files of the repeated hour were overwritten, an archive was deleted as "too old" after a bad time server, a
box without a battery recorded into 1970 and found nothing again. Ours: order is never wall time, nothing is
overwritten, age deletion waits. The whole range of steps is in tests/time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mediadb.aio import StoreOptions
from recorderd.core.clock import FakeClock
from tests.time.time_rig import DAY, HOUR, MINUTE, T0, YEAR, S, World


@pytest.mark.parametrize("step_us", [-HOUR, DAY])
async def test_nothing_is_overwritten_and_each_second_explained(tmp_path: Path, step_us: int) -> None:
    world = await World(tmp_path).start()
    await world.run(3 * MINUTE)
    await world.step(step_us)
    await world.run(MINUTE)
    world.disconnect()
    await world.run(30 * S)
    gone_us = world.clock.utc_us() - 30 * S
    world.connect()
    await world.run(2 * MINUTE)
    await world.stop()
    assert sorted(world.served()) == world.sent
    low, high = min(world.times.values()), max(world.times.values())
    words = world.words(low, high)
    assert not [word for word in words if word[2] == "unexplained"]
    assert ((gone_us - T0) / S, (gone_us - T0) / S + 30, "camera-offline", "refused") in words


async def test_a_box_without_a_battery_starts_in_1970(tmp_path: Path) -> None:
    before = await World(tmp_path).start()
    await before.run(2 * MINUTE)
    await before.stop()
    world = await World(tmp_path, clock=FakeClock(30 * S)).start()
    await world.run(MINUTE)
    await world.step(T0 + HOUR - world.clock.utc_us())
    await world.run(2 * MINUTE)
    await world.stop()
    assert len(world.served()) == len(before.sent) + len(world.sent)
    assert world.served(0, 10 * MINUTE) == list(range(2 * 60)), "footage of before the time was known is found in 1970"
    words = world.words(T0, T0 + HOUR + 2 * MINUTE)
    assert [(word[2], word[3]) for word in words] == [
        ("recorded", ""), ("server-down", "stop"), ("recorded", ""),
    ], "the years between explain nothing away"  # fmt: skip


async def test_a_bad_time_server_deletes_nothing(tmp_path: Path) -> None:
    options = StoreOptions(create=True, slot_us=3_600 * S, commit_us=0, segment_us=MINUTE, retention_us=30 * DAY)
    world = await World(tmp_path, options=options).start()
    for minute in range(11):
        if minute == 5:
            await world.step(10 * YEAR)
        await world.run(MINUTE)
        world.store._thread.beside(world.store._reclaim_step)
        await world.flush()
    assert sorted(world.served()) == world.sent
    await world.stop()
