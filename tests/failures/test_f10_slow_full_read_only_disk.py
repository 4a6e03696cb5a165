"""10. Storage slow, read-only, full, full of other programs' data, with blocks reserved for root.

Elsewhere the free space was counted with blocks that only root may use, a full disk stopped the start, and recording
did not come back by itself. Ours: the disk's own figure, samples wait in memory, and nothing needs a restart.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
import rig
from fault_fs import FaultFs
from rig import Rig
from world import World

from mediadb.fs import RealFs
from tests import disks


@pytest.mark.parametrize("fault", ["read-only", "full", "slow to answer with EIO"])
def test_it_comes_back_by_itself_and_nothing_is_lost(fault: str) -> None:
    world = World()
    world.recover()
    world.film(3)
    world.commit()
    before = {track: len(line.acked) for track, line in world.lines.items()}
    if fault == "read-only":
        world.read_only()
    elif fault == "full":
        world.fill(8192)
    else:
        world.fail_always("fdatasync", errno.EIO)
    for _ in range(3):
        world.film()
        world.commit()
        world.check_disk()
    assert world.rig is not None
    assert "storage-error" in {code for code, _ in world.rig.troubles}
    assert {track: len(line.acked) for track, line in world.lines.items()} == before, "nothing is called durable"
    world.heal()
    assert "storage-recovered" in {code for code, _ in world.rig.troubles}
    assert all(len(line.acked) == len(line.given) for line in world.lines.values())
    world.close()
    world.open()
    world.recover()
    world.check()


def test_a_slow_sync_is_waited_for() -> None:
    """The sync hangs; when it returns everything is durable, and nothing was before."""
    fs = FaultFs()
    run = Rig(fs)
    run.frames(0, 25)
    stall = fs.stall("fdatasync")
    writer = threading.Thread(target=run.commit)
    writer.start()
    assert stall.reached.wait(30)
    assert run.acked == {}
    stall.release()
    writer.join(30)
    assert run.acked == {rig.track_id(0): 25}


@pytest.mark.disks
def test_what_root_keeps_for_itself_is_not_free(tmp_path: Path) -> None:
    disks.need()
    with disks.Disk(tmp_path / "disk", "ext4") as disk:
        status = os.statvfs(disk.mount)
        assert status.f_bavail < status.f_bfree, "mkfs reserves blocks"
        free, _ = RealFs().free_bytes(disk.mount)
        assert abs(free - status.f_bavail * status.f_frsize) < 1 << 20
        foreign = disk.fill()
        fs = RealFs()
        run = Rig(fs, root=disk.mount / "vol") if fs.free_bytes(disk.mount)[0] > 1 << 20 else None
        assert run is None, "the disk is full of somebody else's data"
        foreign.unlink()
        run = Rig(fs, root=disk.mount / "vol")
        run.frames(0, 25)
        run.commit()
        again = disk.fill()
        run.frames(25, 25, size=2_000_000)  # more than was reserved ahead
        run.commit()
        assert run.acked == {rig.track_id(0): 25}
        assert again.exists(), "what is not ours is never removed"
        again.unlink()
        for _ in range(3):
            run.commit(11_000_000)
        assert run.acked == {rig.track_id(0): 50}
        assert run.close() == []
