"""Removals on a disk that fails in places: one bad segment stops neither the others nor is it told twice."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from mixed import Mixed, S, camera_id, left_in, limits, reader, reclaimer, states
from rig import T0, segment_paths, track_id

from mediadb.errors import ChunkGone
from mediadb.fs import RealFs
from mediadb.gone import INTENT, read_journal, unfinished
from mediadb.reclaim.punch import rewrite
from mediadb.reclaim.reclaimer import ASIDE_US
from mediadb.segment_files import read_footer

pytestmark = pytest.mark.fast
END = T0 + 30 * S
LIMITS = limits(c0=10, c1=10, c2=None)


class BadFs(RealFs):
    """Reads, punches and unlinks of one file fail; `calls` names which."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: Path | None = None
        self.calls: set[str] = set()
        self._paths: dict[int, Path] = {}

    def _refuse(self, call: str, path: Path | None) -> None:
        if path is not None and path == self.bad and call in self.calls:
            raise OSError(errno.EIO, "Input/output error")

    def open_read(self, path: Path) -> int:
        fd = super().open_read(path)
        self._paths[fd] = path
        return fd

    def open_write(self, path: Path) -> int:
        fd = super().open_write(path)
        self._paths[fd] = path
        return fd

    def close(self, fd: int) -> None:
        self._paths.pop(fd, None)
        super().close(fd)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        self._refuse("pread", self._paths.get(fd))
        return super().pread(fd, length, offset)

    def punch(self, fd: int, offset: int, length: int) -> None:
        self._refuse("punch", self._paths.get(fd))
        super().punch(fd, offset, length)

    def unlink(self, path: Path) -> None:
        self._refuse("unlink", path)
        super().unlink(path)

    def create(self, path: Path) -> int:
        if "create" in self.calls:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().create(path)


def filmed(fs: RealFs, root: Path) -> list[Path]:
    made = Mixed(fs, root, LIMITS)
    made.film(30, 3)
    assert made.close() == []
    return segment_paths(fs, root)


@pytest.mark.parametrize("by_track", [False, True])
def test_a_segment_that_cannot_be_read_does_not_stop_retention(tmp_path: Path, by_track: bool) -> None:
    """It ages by the time of its file, which here is newer than the clock."""
    fs = BadFs()
    first, second, third = filmed(fs, tmp_path)
    fs.bad, fs.calls = first, {"pread"}
    made = reclaimer(fs, tmp_path, LIMITS if by_track else {}, quota_bytes=third.stat().st_blocks * 512 + 4096)
    report = made.step(END + 5 * S, 0)
    assert report.errors == []
    assert not second.exists()
    assert by_track or not first.exists()


def test_one_removal_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    fs = BadFs()
    first, second, _ = filmed(fs, tmp_path)
    fs.bad, fs.calls = first, {"punch"}
    made = reclaimer(fs, tmp_path, LIMITS)
    report = made.step(END + 5 * S, 0)
    assert len(report.errors) == 1
    assert left_in(fs, second) == {2}
    assert made.step(END + 6 * S, S).errors == [], "it is put aside for a while"
    fs.calls = set()
    made.step(END + 6 * S, ASIDE_US)
    assert left_in(fs, first) == {2}


def test_room_is_found_beside_a_segment_that_does_not_go(tmp_path: Path) -> None:
    fs = BadFs()
    first, second, _ = filmed(fs, tmp_path)
    fs.bad, fs.calls = first, {"unlink"}
    made = reclaimer(fs, tmp_path, {}, quota_bytes=1 << 30)
    made.options = made.options.__class__(quota_bytes=made.facts.used_bytes(0))
    assert made.step(END + 5 * S, 0).more, "to be tried again at once, without it"
    assert made.step(END + 5 * S, 0).errors == []
    assert not second.exists()


def test_a_removal_that_fails_again_and_again_is_written_down_once(tmp_path: Path) -> None:
    fs = BadFs()
    first, *_ = filmed(fs, tmp_path)
    fs.bad, fs.calls = first, {"punch"}
    made = reclaimer(fs, tmp_path, LIMITS)
    for turn in range(5):
        made.step(END + 5 * S, turn * ASIDE_US)
    bodies = read_journal(fs, first.with_suffix(".gone"))
    assert [body["phase"] for body in bodies] == [INTENT]


def test_what_was_begun_is_finished_though_other_limits_hold_by_now(tmp_path: Path) -> None:
    """Else a track of which bytes are gone already would be called recorded."""
    fs = BadFs()
    first, *_ = filmed(fs, tmp_path)
    made = reclaimer(fs, tmp_path, LIMITS)
    real, count = fs.fdatasync, 0

    def refuse(fd: int) -> None:
        nonlocal count
        if fs._paths.get(fd) == first:
            count += 1
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    fs.fdatasync = refuse  # type: ignore[method-assign]
    assert made.step(END + 5 * S, 0).errors
    fs.fdatasync = real  # type: ignore[method-assign]
    assert count == 1
    other = limits(c0=None, c1=None, c2=10)
    made.options = made.options.__class__(cameras=other)
    for turn in range(1, 4):
        assert made.step(END + 5 * S, turn * ASIDE_US).errors == []
    assert unfinished(fs, first.with_suffix(".gone")) is None
    for number in range(3):
        recorded = [(low, high) for low, high, state, _ in states(fs, tmp_path, number, END) if state == "recorded"]
        made_reader = reader(fs, tmp_path)
        for ref in made_reader.chunks(track_id(number), T0, END):
            try:
                made_reader.read(ref)
            except ChunkGone:
                at = (ref.recv_us - T0) / S
                assert not any(low <= at < high for low, high in recorded), (number, at)
        made_reader.close()


def test_unfinished_removals_are_finished_beside_one_that_cannot_be(tmp_path: Path) -> None:
    fs = BadFs()
    first, second, _ = filmed(fs, tmp_path)
    made = reclaimer(fs, tmp_path, LIMITS)
    real = fs.punch

    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    fs.punch = refuse  # type: ignore[method-assign]
    assert len(made.step(END + 5 * S, 0).errors) == 2
    fs.punch = real  # type: ignore[method-assign]
    fs.bad, fs.calls = first, {"punch"}
    with pytest.raises(OSError, match="Input/output"):
        reclaimer(fs, tmp_path, LIMITS).repeat_unfinished(END + 5 * S)
    assert left_in(fs, second) == {2}


def test_a_copy_that_cannot_be_begun_leaves_no_file_open(tmp_path: Path) -> None:
    fs = BadFs()
    first, *_ = filmed(fs, tmp_path)
    fs.calls = {"create"}
    before = len(fs._paths)
    with pytest.raises(OSError, match="No space"):
        rewrite(fs, first, [(8192, 4096)])
    assert len(fs._paths) == before


def test_the_journal_of_a_segment_that_waits_for_a_new_footer_stays(tmp_path: Path) -> None:
    """A repair makes it an unsealed one for a while; without its journal the holes would be damage."""
    fs = BadFs()
    first, second, _ = filmed(fs, tmp_path)
    made = reclaimer(fs, tmp_path, LIMITS)
    made.step(END + 5 * S, 0)
    first.rename(first.with_suffix(".open"))
    made.repeat_unfinished(END + 5 * S)
    assert len(read_journal(fs, first.with_suffix(".gone"))) == 2
    assert left_in(fs, second) == {2}


def test_a_removal_under_way_waits_for_the_new_footer(tmp_path: Path) -> None:
    fs = BadFs()
    first, *_ = filmed(fs, tmp_path)
    fs.bad, fs.calls = first, {"punch"}
    made = reclaimer(fs, tmp_path, LIMITS)
    made.step(END + 5 * S, 0)
    fs.calls = set()
    first.rename(first.with_suffix(".open"))
    made.repeat_unfinished(END + 5 * S)
    assert unfinished(fs, first.with_suffix(".gone")) is not None
    first.with_suffix(".open").rename(first)
    made.repeat_unfinished(END + 5 * S)
    assert left_in(fs, first) == {2}
    assert [state for *_, state, _ in states(fs, tmp_path, 0, END)] == ["deleted", "recorded"]


def test_a_segment_whose_index_is_damaged_is_kept_as_long_as_any(tmp_path: Path) -> None:
    """Its footer names the tracks, but not where they lie: nothing can be taken out."""
    fs = BadFs()
    first, second, _ = filmed(fs, tmp_path)
    fd = fs.open_read(first)
    summary = read_footer(fs, fd)[0].tracks[0]
    fs.close(fd)
    with first.open("r+b") as file:
        file.seek(summary.index_offset)
        file.write(bytes(64))
    made = reclaimer(fs, tmp_path, LIMITS)
    assert len(made.step(END + 5 * S, 0).errors) == 1
    assert left_in(fs, second) == {2}
    for turn in range(1, 4):
        assert made.step(END + 5 * S, turn * ASIDE_US).errors == []
    assert first.exists()
    assert camera_id(0) not in made.facts.cameras or made.facts.cameras[camera_id(0)] < first.stat().st_size
    made.options = made.options.__class__(12 * S, cameras=limits(c0=10, c1=10, c2=12))
    made.step(END + 60 * S, 5 * ASIDE_US)
    assert not first.exists()
