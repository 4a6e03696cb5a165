"""Two storages in one folder, or one inside the other, whatever their paths are called: refused in words."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_drivers import DRIVERS

from recorderd.config.load import LoadResult, load, look_nowhere
from recorderd.config.places import mounts_here, read_mounts, real_place

TABLE = """\
21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 21 8:17 / /srv/disk\\0401 rw - xfs /dev/sdb1 rw
31 21 8:17 /video /mnt/bind rw - xfs /dev/sdb1 rw
32 21 0:45 / /mnt/bind/deep rw - tmpfs tmpfs rw
"""


def loaded(tmp_path: Path, first: Path, second: Path) -> LoadResult:
    text = "".join(
        f'[[storage]]\nname = "{name}"\npath = "{path}"\nretention = "1d"\n'
        for name, path in (("one", first), ("two", second))
    )
    (tmp_path / "recorderd.toml").write_text(text)
    return load(tmp_path / "recorderd.toml", DRIVERS, look_nowhere, {})


def words(result: LoadResult) -> str:
    assert result.config is None, "the start is refused as well: the daemon loads the same way"
    (error,) = [error for error in result.errors if "storage[1].path" in str(error)]
    return str(error)


@pytest.mark.fast
def test_places_by_the_table_of_mounts() -> None:
    mounts = read_mounts(TABLE)
    disk, bind = real_place(Path("/srv/disk 1/video"), mounts), real_place(Path("/mnt/bind"), mounts)
    assert disk.same(bind)
    assert real_place(Path("/srv/disk 1"), mounts).nested(bind)
    assert bind.nested(real_place(Path("/srv/disk 1/video/cam"), mounts))
    assert not bind.nested(real_place(Path("/srv/disk 1/video2"), mounts))
    assert not bind.nested(real_place(Path("/mnt/bind/deep/x"), mounts)), "another file system is mounted there"
    assert not real_place(Path("/video"), mounts).same(bind)
    assert real_place(Path("/x"), []).same(real_place(Path("/x/../x"), []))


@pytest.mark.fast
def test_symbolic_links_and_folders_inside_each_other(tmp_path: Path) -> None:
    (tmp_path / "a" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert "is the same folder as storage 'one'" in words(loaded(tmp_path, tmp_path / "a", tmp_path / "link"))
    inside = words(loaded(tmp_path, tmp_path / "a", tmp_path / "link" / "inner"))
    assert "lie inside each other: give each its own folder" in inside
    assert "lie inside each other" in words(loaded(tmp_path, tmp_path / "link" / "inner", tmp_path / "a"))
    (tmp_path / "b").mkdir()
    assert loaded(tmp_path, tmp_path / "a", tmp_path / "b").config is not None


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[Path]:
    """A folder that is seen at a second place: a bind mount of <tmp>/a/inner."""
    if os.geteuid() != 0:
        pytest.skip("a bind mount needs root")
    (tmp_path / "a" / "inner").mkdir(parents=True)
    point = tmp_path / "elsewhere"
    point.mkdir()
    subprocess.run(["mount", "--bind", str(tmp_path / "a" / "inner"), str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.disks
def test_bind_mounts(bound: Path, tmp_path: Path) -> None:
    assert mounts_here(), "this kernel shows its mounts"
    assert "same folder" in words(loaded(tmp_path, tmp_path / "a" / "inner", bound))
    assert "inside each other" in words(loaded(tmp_path, tmp_path / "a", bound))
    assert "inside each other" in words(loaded(tmp_path, bound / "cams", tmp_path / "a" / "inner"))
