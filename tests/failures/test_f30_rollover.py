"""30. The frames between two files are lost.

Elsewhere seconds were missing at each change of files. Ours: frames in = frames out over every boundary, also when the
new file cannot be made at once, and when the power goes there.
"""

from __future__ import annotations

import errno

import pytest
import rig
from fault_fs import Crash, FaultFs
from rig import Rig

from mediadb.fs import CREATE_STEPS, SEAL_STEPS
from mediadb.write.commits import StoreOptions

EVERY_SECOND = StoreOptions(create=True, segment_us=1_000_000)


def test_frames_in_are_frames_out_over_every_boundary() -> None:
    fs = FaultFs()
    run = Rig(fs, EVERY_SECOND)
    for second in range(40):
        if second in (10, 11, 20):
            fs.arm("create", 1, errno.ENOSPC)  # the new file is not made at once
        run.frames(second * 25, 25)
        run.commit(1_000_000 if second % 3 else 11_000_000)
    assert run.close() == []
    assert len(run.sealed_paths) >= 30
    assert run.acked == {rig.track_id(0): 1000}
    assert rig.numbers(fs, rig.track_id(0)) == list(range(1000))


def record(run: Rig, seconds: int) -> None:
    for second in range(seconds):
        run.frames(second * 25, 25)
        run.commit()


@pytest.mark.parametrize("step", [*CREATE_STEPS, *SEAL_STEPS])
def test_a_power_cut_at_the_boundary(step: str) -> None:
    fs = FaultFs()
    run = Rig(fs, EVERY_SECOND)
    left = 3

    def cut(point: str) -> None:
        nonlocal left
        left -= point == step
        if left == 0:
            raise Crash(point)

    fs.hook = cut
    with pytest.raises(Crash):
        record(run, 30)
    after = fs.crash()
    again = Rig(after, EVERY_SECOND, start_us=rig.T0 + 90_000_000)
    again.recover()
    found = rig.numbers(after, rig.track_id(0))
    assert found == list(range(len(found)))
    assert len(found) >= run.acked[rig.track_id(0)]
