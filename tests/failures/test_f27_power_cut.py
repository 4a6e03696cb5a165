"""27. The power goes at any write, and recording must resume by itself.

Here on the fault model, at each of the first calls that change the disk; on real file systems: `make powercut`.
"""

from __future__ import annotations

import pytest
import wild
from world import World


@pytest.mark.parametrize("part", range(5))
def test_at_every_changing_call(part: int) -> None:
    cuts = 0
    for call in range(part * 15 + 1, part * 15 + 16):
        world = World(seed=call)
        world.fs.cut_in = call
        for _ in range(12):
            world.recover()
            world.film()
            world.commit()
            world.work()
            if world.rig is None:
                cuts += 1
                wild.reopen(world)
                break
        world.film()
        world.commit()
        acked = sum(len(line.acked) for line in world.lines.values())
        assert acked >= 10, "it records again"
        world.check()
    assert cuts == 15
