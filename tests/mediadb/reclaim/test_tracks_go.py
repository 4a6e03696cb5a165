"""Tracks taken out of a segment: exact bytes, what is left stays whole, what went is explained, at any crash."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_fs import FaultFs
from mixed import Mixed, S, left_in, limits, reader, reclaimer, states
from rig import ROOT, T0, numbers, read_all, segment_paths, track_id

from mediadb.errors import ChunkGone
from mediadb.fs import Fs, RealFs
from mediadb.gone import removed_ranges, unfinished
from mediadb.reclaim.reclaimer import ASIDE_US, Reclaimer, Way

pytestmark = pytest.mark.fast
END = T0 + 30 * S
LIMITS = limits(c0=10, c1=10, c2=None)
STEPS = ("reclaim_intent", "reclaim_punch", "reclaim_punch_sync", "reclaim_ledger", "reclaim_done")
COPY_STEPS = ("reclaim_intent", "reclaim_rewrite", "reclaim_rename", "reclaim_ledger", "reclaim_done")
WHOLE = [(0.0, 30.0, "recorded", "")]
SPLIT = [(0.0, 20.0, "deleted", "age"), (20.0, 30.0, "recorded", "")]


class Killed(Exception):
    pass


def filmed(fs: Fs, root: Path) -> None:
    made = Mixed(fs, root, LIMITS)
    made.film(30, 3)
    assert made.close() == []


def at_step(name: str, nth: int = 1) -> Callable[[str], None]:
    left = [nth]

    def hook(point: str) -> None:
        if point == name:
            left[0] -= 1
            if not left[0]:
                raise Killed

    return hook


def assert_deleted_is_deleted(fs: Fs) -> None:
    """Where a journal says done nothing of the bytes came back."""
    for path in segment_paths(fs):
        journal = path.with_suffix(".gone")
        if unfinished(fs, journal) is None:
            raw = read_all(fs, path)
            assert not any(any(raw[at : at + length]) for at, length in removed_ranges(fs, journal))


def step(made: Reclaimer) -> None:
    report = made.step(END + 5 * S, 0)
    assert report.errors == []


def test_two_of_three_cameras_go_and_the_third_is_untouched(tmp_path: Path) -> None:
    fs = RealFs()
    filmed(fs, tmp_path)
    before = {path: path.stat().st_blocks for path in segment_paths(fs, tmp_path)}
    old = reader(fs, tmp_path)
    refs = list(old.chunks(track_id(0), T0, END))
    report = reclaimer(fs, tmp_path, LIMITS).step(END + 5 * S, 0)
    assert [(r.whole, r.rule, len(r.rules or ())) for r in report.removed] == [(False, "age", 2)] * 2
    assert numbers(fs, track_id(2), tmp_path) == list(range(750))
    first, second, third = segment_paths(fs, tmp_path)
    assert [left_in(fs, path) for path in (first, second, third)] == [{2}, {2}, {0, 1, 2}]
    assert first.stat().st_blocks < before[first] * 0.45
    assert [states(fs, tmp_path, number, END) for number in range(3)] == [SPLIT, SPLIT, WHOLE]
    with pytest.raises(ChunkGone, match="deleted by the rule 'age'") as gone:
        old.read(refs[0])
    assert gone.value.params["rule"] == "age"
    old.changed(first)
    old.changed(second)
    assert next(ref.name for ref in old.chunks(track_id(0), T0, END)).endswith("000002")
    assert [len(list(old.chunks(track_id(2), T0, END)))] == [
        len(list(reader(fs, tmp_path).chunks(track_id(2), T0, END)))
    ]
    assert unfinished(fs, first.with_suffix(".gone")) is None


def test_a_segment_lost_after_tracks_were_taken_out_is_a_loss_for_the_others(tmp_path: Path) -> None:
    fs = RealFs()
    filmed(fs, tmp_path)
    step(reclaimer(fs, tmp_path, LIMITS))
    segment_paths(fs, tmp_path)[0].unlink()
    assert states(fs, tmp_path, 0, END) == SPLIT
    assert states(fs, tmp_path, 2, END)[0] == (0.0, 10.0, "storage-error", "segment-missing")


def test_what_ends_together_lies_together(tmp_path: Path) -> None:
    """Per commit one stretch of the class, whole pages: its own areas follow each other."""
    fs = RealFs()
    filmed(fs, tmp_path)
    reclaimer(fs, tmp_path, LIMITS).step(END + 5 * S, 0)
    ranges = removed_ranges(fs, segment_paths(fs, tmp_path)[0].with_suffix(".gone"))
    assert 10 <= len(ranges) <= 12
    assert all(offset % 4096 == 0 and length % 4096 == 0 for offset, length in ranges)


def test_without_classes_a_camera_goes_by_exact_bytes(tmp_path: Path) -> None:
    """Limits that came after the recording: the footage of the others lies on the same pages."""
    fs = RealFs()
    made = Mixed(fs, tmp_path, {})
    made.film(30, 3, size=300)
    made.close()
    report = reclaimer(fs, tmp_path, limits(c1=10)).step(END + 5 * S, 0)
    assert [r.whole for r in report.removed] == [False, False]
    assert numbers(fs, track_id(0), tmp_path) == numbers(fs, track_id(2), tmp_path) == list(range(750))
    assert states(fs, tmp_path, 1, END) == SPLIT


def test_the_rest_of_a_segment_goes_later_with_its_journal(tmp_path: Path) -> None:
    fs = RealFs()
    filmed(fs, tmp_path)
    step(reclaimer(fs, tmp_path, LIMITS))
    later = reclaimer(fs, tmp_path, limits(c0=10, c1=10, c2=40))
    report = later.step(END + 21 * S, 0)
    assert [(r.whole, len(r.rules or ())) for r in report.removed] == [(True, 1), (False, 2)]
    assert later.step(END + 21 * S, 0).removed == []
    assert states(fs, tmp_path, 2, END)[0] == (0.0, 10.0, "deleted", "age")
    assert states(fs, tmp_path, 0, END) == [(0.0, 30.0, "deleted", "age")]
    assert len(list(tmp_path.rglob("*.gone"))) == 2


@pytest.mark.parametrize("way", [Way(), Way(rewriting=True)], ids=["punch", "copy"])
@pytest.mark.parametrize("number", range(5))
def test_a_crash_at_any_step_leaves_the_footage_or_an_explanation(tmp_path: Path, number: int, way: Way) -> None:
    name = (COPY_STEPS if way.rewriting else STEPS)[number]
    fs = RealFs(at_step(name))
    filmed(RealFs(), tmp_path)
    made = reclaimer(fs, tmp_path, LIMITS)
    made.way = way
    with pytest.raises(Killed):
        step(made)
    for camera in (0, 1, 2):
        assert "unexplained" not in [state for _, _, state, _ in states(RealFs(), tmp_path, camera, END)]
    again = reclaimer(RealFs(), tmp_path, LIMITS)
    again.way = way
    assert again.repeat_unfinished(END) == (0 if name == "reclaim_intent" else 1)
    assert again.repeat_unfinished(END) == 0
    step(again)
    assert [states(RealFs(), tmp_path, camera, END) for camera in range(3)] == [SPLIT, SPLIT, WHOLE]
    assert numbers(RealFs(), track_id(2), tmp_path) == list(range(750))
    assert not list(tmp_path.rglob("*.copy"))


@pytest.mark.parametrize("way", [Way(), Way(rewriting=True)], ids=["punch", "copy"])
@pytest.mark.parametrize("seed", range(6))
def test_power_may_fail_at_any_step(seed: int, way: Way) -> None:
    """Any image that a disk may show after a power cut, punches and names undone or not."""
    rng = random.Random(seed)
    fs = FaultFs(seed)
    filmed(fs, ROOT)
    name = rng.choice(COPY_STEPS if way.rewriting else STEPS)
    fs.hook = at_step(name, rng.randrange(1, 8 if name in ("reclaim_punch", "reclaim_rewrite") else 3))
    made = reclaimer(fs, ROOT, LIMITS)
    made.way = way
    try:
        step(made)
    except Killed:
        pass
    after = fs.crash(rng)
    assert_deleted_is_deleted(after)
    again = reclaimer(after, ROOT, LIMITS)
    again.way = way
    again.repeat_unfinished(END)
    step(again)
    assert numbers(after, track_id(2)) == list(range(750))
    assert [states(after, ROOT, camera, END) for camera in range(3)] == [SPLIT, SPLIT, WHOLE]


def test_a_copy_has_the_same_bytes_at_the_same_places(tmp_path: Path) -> None:
    fs = RealFs()
    filmed(fs, tmp_path)
    first = segment_paths(fs, tmp_path)[0]
    before = first.read_bytes()
    inode = first.stat().st_ino
    held = fs.open_read(first)
    made = reclaimer(fs, tmp_path, LIMITS)
    made.way = Way(rewriting=True)
    step(made)
    after = first.read_bytes()
    assert first.stat().st_ino != inode
    assert len(after) == len(before)
    holes = removed_ranges(fs, first.with_suffix(".gone"))
    at = 0
    for offset, length in sorted(holes):
        assert after[at:offset] == before[at:offset]
        assert after[offset : offset + length] == bytes(length)
        at = offset + length
    assert after[at:] == before[at:]
    assert fs.pread(held, len(before), 0) == before, "whoever has the old file open reads on"
    fs.close(held)
    assert first.stat().st_blocks * 512 < len(before) * 0.45


def test_a_copy_without_room_is_a_punch(tmp_path: Path) -> None:
    fs = RealFs()
    filmed(fs, tmp_path)
    first = segment_paths(fs, tmp_path)[0]
    inode = first.stat().st_ino
    made = reclaimer(fs, tmp_path, LIMITS)
    made.way, made.free_bytes = Way(rewriting=True), lambda: (4096, 1 << 30)
    made.options = made.options.__class__(reserve_bytes=0, cameras=made.options.cameras)
    step(made)
    assert first.stat().st_ino == inode
    assert left_in(fs, first) == {2}


def test_an_error_while_punching_leaves_an_intent_that_is_repeated(tmp_path: Path) -> None:
    fs = RealFs()
    filmed(fs, tmp_path)
    made = reclaimer(fs, tmp_path, LIMITS)
    real = fs.punch

    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(5, "Input/output error")

    fs.punch = refuse  # type: ignore[method-assign]
    report = made.step(END + 5 * S, 0)
    assert "Input/output error" in report.errors[0]
    fs.punch = real  # type: ignore[method-assign]
    assert made.step(END + 5 * S, ASIDE_US).errors == []
    assert [states(fs, tmp_path, camera, END) for camera in range(3)] == [SPLIT, SPLIT, WHOLE]
