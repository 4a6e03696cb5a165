"""Does punching free space here: measured on real file systems, and on one that only says so."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from mediadb.fs import RealFs
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.reclaim.memory import PUNCHING, REWRITING, UNKNOWN, Memory, read_memory, write_memory
from mediadb.reclaim.probe import probe, seeks
from mediadb.write.retention import CameraLimits
from tests.disks import Disk, need


class NothingFreed(RealFs):
    """As btrfs: holes are punched, extents stay referenced."""

    def free_bytes(self, path: Path) -> tuple[int, int]:
        return 1 << 30, 1 << 31


class NoPunch(RealFs):
    def punch(self, fd: int, offset: int, length: int) -> None:
        raise OSError(95, "Operation not supported")


@pytest.mark.disks
@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs"])
def test_punching_frees_space_on(tmp_path: Path, kind: str) -> None:
    need()
    with Disk(tmp_path, kind) as disk:
        assert probe(RealFs(), disk.mount) == PUNCHING
        assert list(disk.mount.glob("PROBE*")) == []
        assert isinstance(seeks(RealFs(), disk.mount), bool)
        disk.fill(leave=10 << 20)
        assert probe(RealFs(), disk.mount) == UNKNOWN


@pytest.mark.parametrize("fs", [NothingFreed(), NoPunch()], ids=["nothing-freed", "refused"])
def test_where_nothing_is_gained_segments_are_rewritten(tmp_path: Path, fs: RealFs) -> None:
    assert probe(fs, tmp_path) == REWRITING
    assert list(tmp_path.iterdir()) == []


def test_what_was_found_is_remembered_and_lost_without_harm(tmp_path: Path) -> None:
    fs = RealFs()
    assert read_memory(fs, tmp_path) == Memory()
    cameras = {uuid.UUID(int=5): CameraLimits(7, 3, None)}
    memory = Memory(ReclaimOptions(9, None, cameras=cameras), REWRITING, 77, True, True)
    write_memory(fs, tmp_path, memory)
    assert read_memory(fs, tmp_path) == memory
    for damage in (b"", b"{}", b"[1]", b'{"retention_us": "x", "quota_bytes": 1, "cameras": {}, "way": 1}'):
        (tmp_path / "RECLAIM").write_bytes(damage)
        assert read_memory(fs, tmp_path) == Memory()
