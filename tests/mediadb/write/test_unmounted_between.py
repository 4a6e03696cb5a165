"""A volume that is unmounted between the look whether it is there and the making of a file: nothing that lies below the
mount point is ever called durable."""

from __future__ import annotations

from pathlib import Path

import rig
from rig import Rig
from test_store_away import Mount

from mediadb.fs import RealFs


class Unmounts(RealFs):
    """Takes the mount away just before the folder of a segment is made."""

    mount: Mount | None = None

    def mkdirs(self, path: Path) -> None:
        mount, self.mount = self.mount, None
        if mount is not None:
            mount.take()
        super().mkdirs(path)


def test_a_segment_made_below_an_empty_mount_point_takes_no_footage(tmp_path: Path) -> None:
    mount, fs = Mount(tmp_path), Unmounts()
    recorder = Rig(fs, root=mount.path)
    fs.mount = mount
    recorder.frames(0, 10)
    recorder.commit()
    assert recorder.acked == {}
    assert recorder.writer.reason == "storage-missing"
    mount.give_back()
    recorder.commit(3_000_000)
    assert recorder.acked[rig.track_id(0)] == 10
    assert recorder.close() == []
    assert rig.numbers(fs, rig.track_id(0), mount.path) == list(range(10))
