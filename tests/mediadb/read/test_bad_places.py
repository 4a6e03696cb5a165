"""One place of the disk that cannot be read hides no footage elsewhere, and what is lost is said."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from rig import T0, Rig, segment_paths, track_id

from mediadb.errors import StorageMissing
from mediadb.fs import RealFs
from mediadb.read.joined import JoinedReader
from mediadb.read.reader import Reader
from mediadb.types import State
from mediadb.write.commits import StoreOptions

pytestmark = pytest.mark.fast
S = 1_000_000


class BadPlaces(RealFs):
    """Every read of one file fails."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: Path | None = None
        self.behind = 0
        self._paths: dict[int, Path] = {}

    def open_read(self, path: Path) -> int:
        fd = super().open_read(path)
        self._paths[fd] = path
        return fd

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        if self.bad is not None and self._paths.get(fd) == self.bad and offset + length > self.behind:
            raise OSError(errno.EIO, "Input/output error")
        return super().pread(fd, length, offset)


def filmed(fs: RealFs, root: Path) -> list[Path]:
    made = Rig(fs, StoreOptions(create=True, segment_us=10 * S, segment_bytes=2 << 20), root)
    for second in range(30):
        made.frames(second * 25, 25)
        made.commit()
    made.close()
    return segment_paths(fs, root)


@pytest.mark.parametrize("behind", [0, 8192])
@pytest.mark.parametrize("opened", [False, True])
def test_one_bad_segment_hides_no_other(tmp_path: Path, opened: bool, behind: int) -> None:
    """`behind`: the header can be read, the rest cannot. `opened`: the place goes bad after the catalog was filled."""
    fs = BadPlaces()
    first, *_ = filmed(fs, tmp_path)
    reader = Reader(tmp_path, "main", lambda: T0 + 100 * S, fs=fs, cache=False)
    if opened:
        reader.refresh()
    fs.bad, fs.behind = first, behind
    found = reader.coverage([track_id(0)], T0, T0 + 30 * S)[track_id(0)]
    states = [((i.start_us - T0) // S, (i.end_us - T0) // S, i.cause.state) for i in found]
    assert all(state is State.RECORDED for low, _, state in states if low >= 11)
    held = sum(i.end_us - i.start_us for i in found if i.cause.state is State.RECORDED)
    assert held >= 19 * S
    if not opened:
        assert State.STORAGE_ERROR in {state for *_, state in states}, states
    reader.close()


def test_a_removal_journal_that_cannot_be_read_hides_its_segment_alone(tmp_path: Path) -> None:
    """What is left in that segment nobody can say: nothing of it is called recorded."""
    fs = BadPlaces()
    first, *_ = filmed(fs, tmp_path)
    fs.bad = first.with_suffix(".gone")
    fs.bad.write_bytes(bytes(4096))
    reader = Reader(tmp_path, "main", lambda: T0 + 100 * S, fs=fs, cache=False)
    found = reader.coverage([track_id(0)], T0, T0 + 29 * S)[track_id(0)]
    assert [i.cause.state for i in found] == [State.STORAGE_ERROR, State.RECORDED]
    reader.close()


@pytest.mark.parametrize("joined", [False, True])
def test_of_a_volume_that_was_let_go_nothing_is_asked(tmp_path: Path, joined: bool) -> None:
    """Another disk may be in its place: what lies there is neither lost nor said of ours."""
    fs = BadPlaces()
    filmed(fs, tmp_path / "a")
    filmed(fs, tmp_path / "b")
    reader, other = (Reader(tmp_path / name, "main", lambda: T0 + 100 * S, fs=fs, cache=False) for name in "ab")
    asked = JoinedReader(reader, [other], lambda: T0 + 100 * S) if joined else reader
    assert asked.patrol() == 0
    before = asked.troubles(0, T0 + 100 * S)
    reader.shut()
    (tmp_path / "a" / "log" / "main").rename(tmp_path / "a" / "log" / "other")
    (tmp_path / "a" / "log" / "main").mkdir()
    with pytest.raises(StorageMissing):
        asked.patrol()
    with pytest.raises(StorageMissing):
        asked.troubles(0, T0 + 100 * S)
    assert asked.losses()["missing_segments"] == 0
    assert before == {}
    other.close()
