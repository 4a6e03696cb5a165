"""11. The storage is unmounted, and an empty folder is where it was.

Elsewhere recordings went into the folder below the mount point, and the index was emptied because its files were gone.
Ours: nothing is written there, nothing is forgotten, and after the mount everything is there.
"""

from __future__ import annotations

from pathlib import Path

import rig
from rig import Rig

from mediadb.fs import RealFs
from mediadb.read.reader import Reader
from mediadb.reclaim.brake import ClockBrake
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.reclaim.reclaimer import Reclaimer


def test_nothing_is_written_under_it_and_nothing_is_forgotten(tmp_path: Path) -> None:
    volume, aside = tmp_path / "mnt", tmp_path / "aside"
    run = Rig(RealFs(), root=volume)
    for second in range(12):
        run.frames(second * 25, 25)
        run.commit()
    known = Reader(volume, "main", lambda: run.utc_us, live=run.writer)
    known.refresh()
    tracks = [info.spec.track for info in known.tracks()]
    volume.rename(aside)  # the disk goes away under the writer ...
    volume.mkdir()  # ... and the empty mount point shows
    run.frames(300, 25)
    run.commit()
    assert run.acked == {rig.track_id(0): 300}
    assert "storage-error" in {code for code, _ in run.troubles}
    free = RealFs().free_bytes(volume)
    reclaimer = Reclaimer(
        RealFs(), run.log.folder, run.writer.ledger, ReclaimOptions(quota_bytes=1), lambda: free, ClockBrake(None)
    )
    assert reclaimer.step(run.utc_us, run.mono_us).removed == []
    assert list(volume.iterdir()) == [], "not one file below the mount point"
    assert [info.spec.track for info in known.tracks()] == tracks, "the index forgot nothing"
    volume.rmdir()
    aside.rename(volume)
    run.commit(11_000_000)
    assert run.acked == {rig.track_id(0): 325}
    assert run.close() == []
    known.close()
    assert rig.numbers(RealFs(), rig.track_id(0), volume) == list(range(325))
