"""22. A camera cannot be reached for days.

Elsewhere every attempt left something behind, a thread, a socket, a buffer, and after a weekend the recorder was out
of memory. Ours: attempts at most once a minute, and nothing that grows.
"""

from __future__ import annotations

import asyncio
import gc

import pytest

from recorderd.driverapi.errors import DeviceUnavailable
from recorderd.engine import engine
from tests.engine.engine_fakes import Rig

pytestmark = [pytest.mark.looptime]
HOUR_S = 3_600


def no_route(host: object) -> None:
    raise DeviceUnavailable("no route", "unreachable")


async def test_nothing_grows_in_a_day_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "TICK_S", 60.0)
    rig = Rig()
    camera = rig.driver.device()
    camera.on_connect = no_route
    await rig.engine.start(rig.config)
    await asyncio.sleep(2 * HOUR_S)
    seen = []
    for _ in range(3):
        await asyncio.sleep(8 * HOUR_S)
        attempts, camera.attempt_times = camera.attempts, []
        gc.collect()
        seen.append((len(asyncio.all_tasks()), len(rig.events.all), len(rig.video.covers), len(gc.get_objects())))
    assert len({one[:3] for one in seen}) == 1, "no task, no event, no statement more"
    assert max(one[3] for one in seen) - min(one[3] for one in seen) < 200, seen
    assert 26 * 60 * 0.5 <= attempts <= 27 * 60 * 4, "it is still being tried"
    camera.on_connect = None
    await asyncio.sleep(70)
    assert rig.engine.camera("one").state == "recorded", "and there again within a minute"
    await rig.stop()
