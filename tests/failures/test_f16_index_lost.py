"""16. The index is deleted or damaged.

Elsewhere a lost index meant lost recordings, or a rebuild of hours. Ours is a cache: delete it, cut it, overwrite it;
the answers are the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import rig
from rig import Rig

from mediadb.fs import RealFs
from mediadb.read.reader import Reader

DAMAGE: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "noise": lambda path: path.write_bytes(os.urandom(30_000)),
    "noise inside": lambda path: path.write_bytes(path.read_bytes()[:5000] + os.urandom(4000)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def answers(root: Path) -> tuple[list[int], list[object]]:
    reader = Reader(root, "main", lambda: rig.T0 + 60_000_000)
    reader.refresh()
    track = rig.track_id(0)
    chunks = [reader.read(ref) for ref in reader.chunks(track, 0, 1 << 61)]
    numbers = [int.from_bytes(bytes(sample.data[:4]), "big") for chunk in chunks for sample in chunk.samples]
    coverage = reader.coverage([track], rig.T0, rig.T0 + 50_000_000)[track]
    reader.close()
    return numbers, list(coverage)


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_answers_are_the_same(damage: str, tmp_path: Path) -> None:
    run = Rig(RealFs(), root=tmp_path)
    for second in range(12):
        run.frames(second * 25, 25)
        run.commit()
    assert run.close() == []
    whole = answers(tmp_path)
    assert whole[0] == list(range(300))
    for extra in ("catalog.db-wal", "catalog.db-shm"):
        (tmp_path / extra).unlink(missing_ok=True)
    DAMAGE[damage](tmp_path / "catalog.db")
    assert answers(tmp_path) == whole
    assert answers(tmp_path) == whole, "and once more from the new one"
