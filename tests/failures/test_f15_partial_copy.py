"""15. A copy that failed leaves part of itself.

Elsewhere the half of a copied file was taken for the whole. Here the copies are those of a rewritten segment and of an
export: what failed is not there under a final name, the original is whole, and the next try works.
"""

from __future__ import annotations

import errno

import pytest
import rig
import wild
from world import S, World


@pytest.mark.parametrize("call", ["pwritev", "fdatasync", "truncate", "rename", "create"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_rewrite_that_fails_leaves_the_segment_whole(call: str, nth: int) -> None:
    world = World()
    world.recover()
    for _ in range(9):
        world.film()
        world.commit()
    world.work()
    world.fault(call, nth, errno.ENOSPC)
    world.forget_camera(0, 2 * S, rewriting=True)
    world.check_disk()
    world.heal()
    world.cut(nth)
    wild.reopen(world)
    assert not [path for path in world.fs.names if path.suffix == ".copy"], "what failed is cleared away at the start"
    world.check()
    world.forget_camera(0, 2 * S, rewriting=True)
    assert world.lines[rig.track_id(0)].removed
    assert not world.lines[rig.track_id(1)].removed, "the other camera lost nothing"
    world.check()
