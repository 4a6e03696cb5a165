"""18. Everything comes back at once: the switch, or the recorder itself, with what the dead process left behind.

Elsewhere a hundred cameras were opened in one second and half of them timed out, again and again; or temporary files
of the old process made the new one stumble. Ours: few handshakes at a time, each after a random wait; leftovers are
adopted or removed by rule and never stop a start.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from recorderd.driverapi.errors import StreamLost
from recorderd.engine.host import HANDSHAKES
from tests.engine.engine_fakes import Rig, config, device
from tests.time.time_rig import MINUTE, S, World

CAMERAS = 60


@pytest.mark.looptime
async def test_sixty_cameras_come_back_without_a_spike() -> None:
    rig = Rig()
    hardware = [device(f"c{number}") for number in range(CAMERAS)]
    for one in hardware:
        made = rig.driver.device(one.address)
        made.handshake_s, made.auto_media = 0.5, False
    await rig.start(config(*hardware))
    await asyncio.sleep(30)
    assert all(one.connected == 1 for one in rig.driver.devices.values()), "nobody gave up"
    for one in rig.driver.devices.values():  # the switch restarts
        one.lose(StreamLost("reset", "closed"))
    peak = 0
    for _ in range(300):
        await asyncio.sleep(0.1)
        peak = max(peak, rig.engine.handshakes_running)
    assert 0 < peak <= HANDSHAKES
    assert all(one.connected == 1 for one in rig.driver.devices.values())
    attempts = sorted(time for one in rig.driver.devices.values() for time in one.attempt_times[1:])
    assert len(set(attempts)) == len(attempts), "not two in the same moment"
    await rig.stop()


async def test_what_the_dead_process_left_does_not_stop_the_next(tmp_path: Path) -> None:
    first = await World(tmp_path).start()
    await first.run(MINUTE)
    await first.stop()
    (day,) = (one for one in (tmp_path / "log" / "main").glob("*/*") if one.is_dir())
    left = ["20260921T150000Z-00000001-000007.open", "20260921T150000Z-00000001-000008.gone.tmp",
            "20260921T150000Z-00000001-000009.gone", "core.1234", ".hidden.tmp"]  # fmt: skip
    for name in left:
        (day / name).write_bytes(b"")
    (day / left[0]).write_bytes(b"\0" * 8192)  # allocated and never used
    first.clock.advance(10 * S)
    world = World(tmp_path, clock=first.clock)
    await world.start()
    await world.run(MINUTE)
    await world.stop()
    assert len(world.served()) == len(first.sent) + len(world.sent)
