"""A server whose clock was never set says so once, and records."""

from __future__ import annotations

import asyncio

import pytest

from recorderd.driverapi.testing_fakes import LoopClock
from tests.engine.engine_fakes import Rig

pytestmark = [pytest.mark.looptime, pytest.mark.fast]


@pytest.mark.parametrize(("start_us", "told"), [(0, 1), (1_500_000_000_000_000, 1), (1_790_000_000_000_000, 0)])
async def test_it_is_told_and_recording_does_not_wait(
    monkeypatch: pytest.MonkeyPatch, start_us: int, told: int
) -> None:
    monkeypatch.setattr("tests.engine.engine_fakes.LoopClock", lambda: LoopClock(start_us))
    rig = Rig()
    await rig.start()
    await asyncio.sleep(5)
    assert rig.events.codes().count("clock-implausible") == told
    assert rig.engine.camera("one").state == "recorded"
    await rig.stop()
