"""What is different on a small storage: short segments, commits that close within a slot."""

from __future__ import annotations

import pytest
from fault_fs import FaultFs
from rig import Rig, frame, numbers, track_id

from mediadb.write.commits import StoreOptions

pytestmark = pytest.mark.fast
MIB = 1 << 20


def test_a_slot_larger_than_a_commit_loses_no_track() -> None:
    """A commit closes in the middle of a slot: the tracks that follow belong to the next one."""
    run = Rig(FaultFs(), StoreOptions(create=True, quota_bytes=16 * MIB))
    tracks = [run.track(number) for number in range(3)]
    for first in range(0, 50, 25):
        slot = [(track, frame(track.spec.track, n, size=60_000)) for n in range(first, first + 25) for track in tracks]
        run.writer.take(slot, run.now)
        run.commit()
        assert run.acked == {track_id(number): first + 25 for number in range(3)}
    run.close()
    assert [numbers(run.fs, track_id(number)) for number in range(3)] == [list(range(50))] * 3


def test_segments_are_a_64th_of_the_disk_or_of_the_limit() -> None:
    assert StoreOptions(quota_bytes=64 * MIB).segment_limit == MIB
    assert StoreOptions().on_volume(256 * MIB).segment_limit == 4 * MIB
    assert StoreOptions(quota_bytes=1 << 40).on_volume(32 << 30).segment_limit == 512 * MIB
    assert StoreOptions().on_volume(1 << 45).segment_limit == 64 << 30
