"""13. Retention runs while footage is being copied away.

Elsewhere an archive move and retention worked on the same files. There is no archive tier here yet; what exists is
reading and exporting while retention removes: a reader gets true bytes or is told "deleted", never anything else.
"""

from __future__ import annotations

import rig
from world import OPTIONS, S, World

from mediadb.errors import ChunkGone
from mediadb.read.reader import Reader


def test_a_reader_gets_true_bytes_or_is_told_that_they_were_deleted() -> None:
    world = World()
    world.recover()
    for _ in range(4 * OPTIONS.segment_us // S):
        world.film()
        world.commit()
    world.work()
    assert world.rig is not None
    reader = Reader(rig.ROOT, "main", lambda: world.utc_us, fs=world.fs, live=world.rig.writer, cache=False)
    reader.refresh()
    track = rig.track_id(0)
    refs = list(reader.chunks(track, 0, 1 << 61))
    half = len(refs) // 6
    assert [reader.read(ref) for ref in refs[:half]]  # these files are open when they go
    before = set(world.fs.names)
    world.reclaim(0.3)  # between the plan of an export and its reads
    for path in sorted(before - set(world.fs.names)):
        if path.suffix == ".rseg":
            reader.removed(path)  # as retention tells the reader
    assert world.lines[track].removed
    gone = 0
    for ref in refs:
        try:
            chunk = reader.read(ref)
        except ChunkGone:
            gone += 1
            continue
        for sample in chunk.samples:
            data = bytes(sample.data)
            assert data == rig.content(track, int.from_bytes(data[:4], "big"), len(data))
    assert 0 < gone < len(refs)
    world.check()
