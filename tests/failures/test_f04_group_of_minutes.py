"""4. One keyframe in many minutes ("smart" codings).

Elsewhere buffers grew without bound while they waited for a keyframe, seeks landed minutes off, or nothing was
recorded. Ours: a group is written as it comes, a seek inside it goes back to its key, memory does not depend on its
length.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.time import time_rig
from tests.time.time_rig import FRAME_US, MINUTE, S, World


async def test_ten_minutes_without_a_keyframe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_rig, "GOP", 10 * MINUTE // FRAME_US)
    world = await World(tmp_path).start()
    held = 0
    for _ in range(75):
        await world.run(20 * S)
        held = max(held, world.stream._ring.bytes)
    assert world.served() == world.sent, "written as it came, not when the next key does"
    whole_group = sum(len(time_rig.picture(number, False)) for number in range(time_rig.GOP))
    assert held <= whole_group + 2 * len(time_rig.picture(0, True)), "memory keeps the newest group, never more"
    key_us = world.times[0]
    for second in (1, 299, 599):
        got = world.served(key_us + second * S, key_us + second * S + 1)
        assert got[0] == 0, "from the key on"
        assert second * 2 in got
    assert {word[2] for word in world.words(key_us, key_us + 24 * MINUTE)} == {"recorded"}
    await world.stop()
    assert world.served() == world.sent
