"""5. The camera announces 25 pictures a second and sends two (or the other way round).

Elsewhere times were computed from the announced rate: an hour of footage lasted five minutes, or every picture was a
"gap". Ours: time comes from the media clock and the arrival, the rate is learned.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.time import time_rig
from tests.time.time_rig import FRAME_US, MINUTE, World


@pytest.mark.parametrize("announced_fps", [25, 50, 1, 0])
async def test_the_announced_rate_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, announced_fps: int
) -> None:
    ticks = 90_000 // announced_fps if announced_fps else 0
    monkeypatch.setattr(time_rig, "VIDEO", replace(time_rig.VIDEO, frame_ticks=ticks))
    world = await World(tmp_path).start()
    await world.run(5 * MINUTE)
    await world.stop()
    low, high = world.times[0], world.times[len(world.sent) - 1]
    assert {word[2] for word in world.words(low, high)} == {"recorded"}, "no hole that is none"
    assert world.stream.video.interval_us == pytest.approx(FRAME_US, rel=0.02)
    assert 2 * MINUTE // FRAME_US in world.served(low + 2 * MINUTE, low + 2 * MINUTE + 1)
