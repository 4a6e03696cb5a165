"""verify and fsck after tracks were taken out of segments: holes a rule made are listed, others are red."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mixed import Mixed, S, limits, reclaimer
from rig import T0, segment_paths

from mediadb.fs import RealFs
from mediadb.gone import removed_ranges
from mediadb.segment_files import read_footer, read_track
from mediadb.tools.fsck import fsck
from mediadb.tools.salvage import salvage
from mediadb.tools.verify import verify_volume

pytestmark = pytest.mark.fast
LIMITS = limits(c0=10, c1=10, c2=None)
FS = RealFs()


@pytest.fixture
def thinned(tmp_path: Path) -> Path:
    """Three segments of three cameras; of the first two, two cameras went."""
    root = tmp_path / "vol"
    made = Mixed(FS, root, LIMITS)
    made.film(30, 3)
    assert made.close() == []
    assert reclaimer(FS, root, LIMITS).step(T0 + 35 * S, 0).errors == []
    return root


def test_what_a_rule_took_is_no_damage_and_is_counted(thinned: Path) -> None:
    verdict = verify_volume(FS, thinned)
    assert verdict.findings == []
    assert verdict.removed_chunks > 0
    assert sum("removed by a rule" in note for note in verdict.notes) >= 1
    report = fsck(FS, thinned, None, repair=True)
    assert (report.problems, report.left, report.notes) == ([], [], [])


def test_a_hole_beside_it_is_red(thinned: Path) -> None:
    path = next(p for p in segment_paths(FS, thinned) if p.with_suffix(".gone").exists())
    fd = FS.open_write(path)
    head, _ = read_footer(FS, fd)
    kept = max(head.tracks, key=lambda track: track.track.int)
    media = read_track(FS, fd, kept)[1]
    FS.punch(fd, media.offset[0], media.length[0])
    FS.close(fd)
    verdict = verify_volume(FS, thinned)
    assert [f.path for f in verdict.findings] == [str(path)]
    assert [p.code for p in fsck(FS, thinned, None, repair=False).problems] == ["hole-unexplained"]


def test_bytes_that_came_back_are_red(thinned: Path) -> None:
    path = next(p for p in segment_paths(FS, thinned) if p.with_suffix(".gone").exists())
    at = removed_ranges(FS, path.with_suffix(".gone"))[0][0]
    raw = bytearray(path.read_bytes())
    raw[at + 300] = 7
    path.write_bytes(raw)
    assert [f.path for f in verify_volume(FS, thinned).findings] == [str(path)]


def test_without_its_journal_the_same_holes_are_red(thinned: Path) -> None:
    for journal in list(thinned.rglob("*.gone")):
        journal.unlink()
    assert verify_volume(FS, thinned).findings
    assert {p.code for p in fsck(FS, thinned, None, repair=False).problems} == {"hole-unexplained"}


def test_salvage_takes_what_is_left_and_knows_what_went(thinned: Path, tmp_path: Path) -> None:
    result = salvage(FS, thinned, tmp_path / "new", T0 + 3600 * S)
    assert result.whole
    chunks = {track.names.camera: (track.samples, [why for *_, why in track.holes]) for track in result.tracks.values()}
    assert chunks["cam 2"] == (750, [])
    assert set(chunks["cam 0"][1]) == {"removed"}
    assert verify_volume(FS, tmp_path / "new").findings == []
    shutil.rmtree(tmp_path / "new")
