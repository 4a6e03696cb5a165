"""28. Footage is deleted while that same file is being recorded.

Elsewhere the file went away under the writer. Ours: the open segment is never taken; what is recorded meanwhile is
there, and what went is explained.
"""

from __future__ import annotations

import rig
from world import World


def test_everything_else_goes_and_recording_goes_on() -> None:
    world = World()
    world.recover()
    for second in range(20):
        world.film()
        if second % 5 == 4:
            world.work()
            world.reclaim(0.0)  # all that may go
        world.commit()
        world.check()
    line = world.lines[rig.track_id(0)]
    assert len(line.removed) > 20
    assert len(line.acked) == len(line.given) == 100
    assert max(line.removed) < 95, "the open segment was not touched"
    world.close()
    world.open()
    world.recover()
    world.check()
