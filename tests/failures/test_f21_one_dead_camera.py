"""21. One camera of many is broken.

Elsewhere one dead camera took the others along: a shared thread hung, a shared queue was full, the supervisor gave
up. Ours: each device has a tree of its own, whatever it does there.
"""

from __future__ import annotations

import asyncio

import pytest

from recorderd.driverapi.errors import DeviceUnavailable, DeviceUnsupported
from tests.engine.engine_fakes import FRAME_US, Rig, config, device

pytestmark = [pytest.mark.looptime]
OTHERS = 5
SECONDS = 20


@pytest.mark.parametrize("how", ["bug", "refused", "hangs", "unsupported", "exit"])
async def test_the_others_do_not_notice(how: str) -> None:
    rig = Rig()
    dead = rig.driver.device("fake://dead")
    if how == "hangs":
        dead.handshake_s = 1e9
    else:
        dead.connect_error = {
            "bug": ZeroDivisionError("a driver's mistake"),
            "refused": DeviceUnavailable("no", "refused"),
            "unsupported": DeviceUnsupported("no"),
            "exit": asyncio.CancelledError(),
        }[how]  # type: ignore[assignment]
    await rig.start(config(device("dead"), *(device(f"c{number}") for number in range(OTHERS))))
    await asyncio.sleep(SECONDS)
    for number in range(OTHERS):
        camera = rig.engine.camera(f"c{number}")
        assert camera.state == "recorded"
        samples = rig.store.of(camera=camera.id).samples
        assert len(samples) >= (SECONDS - 2) * 1_000_000 // FRAME_US, "not a picture less"
    assert rig.engine.camera("dead").state == "camera-offline"
    assert rig.events.of("driver-bug") or how != "bug"
    await rig.stop()
