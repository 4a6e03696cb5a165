"""fsck on segments that were cut, copied or moved: what is there stays readable, what went stays explained, and
retention takes what is left."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import T0, Recorder, S, offline, spec

from mediadb.errors import MediaDbError
from mediadb.format.columns import ChunkColumns
from mediadb.format.footer import ConfigPlace, TrackSummary
from mediadb.fs import Fs, RealFs
from mediadb.gone import GONE, removed_tracks, write_done, write_intent
from mediadb.ledger import LedgerWriter
from mediadb.reclaim.brake import ClockBrake
from mediadb.reclaim.limits import ReclaimOptions
from mediadb.reclaim.punch import punch, ranges_of
from mediadb.reclaim.reclaimer import Reclaimer
from mediadb.segment_files import read_footer, read_track
from mediadb.segment_scan import ScannedBlock, scan_segment
from mediadb.tools.main import main
from mediadb.write.retention import CameraLimits

pytestmark = pytest.mark.fast
FS = RealFs()
CAM, OTHER = spec(1), spec(2)
SOUND: dict[str, object] = {"problems": [], "repaired": [], "left": [], "notes": [], "quarantined": 0}
RECORDED, DAMAGED = ("recorded", ""), ("storage-error", "segment-damaged")
Words = list[tuple[str, str]]


def words(volume: Path, track: uuid.UUID = CAM.track) -> Words:
    """Coverage, and proof that what it calls recorded can be read."""
    reader = offline(volume)
    found = reader.coverage([track], T0, T0 + 25 * S)[track]
    for ref in reader.chunks(track, T0, T0 + 25 * S):
        assert reader.read(ref).samples
    reader.close()
    return [(str(i.cause.state), i.cause.reason) for i in found]


def tool(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def second(volume: Path) -> Path:
    return sorted((volume / "log").rglob("*.rseg"))[1]


def take_out(path: Path, track: uuid.UUID) -> None:
    """A rule took a track out of the segment."""
    ranges = ranges_of(FS, path, {track}, ())
    fd = FS.open_read(path)
    segment = str(read_footer(FS, fd)[0].segment)
    FS.close(fd)
    body: dict[str, object] = {
        "segment": segment, "name": path.stem, "state": "deleted", "rule": "age", "bytes": 1,
        "ranges": [list(one) for one in ranges], "tracks": [{"track": str(track), "spans": [[T0, T0 + 25 * S]]}],
    }  # fmt: skip
    write_intent(FS, path.with_suffix(GONE), body, T0 + 30 * S)
    punch(FS, path, ranges)
    write_done(FS, path.with_suffix(GONE), T0 + 30 * S)


def retention(volume: Path, **kept_s: int) -> None:
    """Age limits of the cameras, long after: what they say goes goes, without an error."""
    log = next((volume / "log" / "main").iterdir())
    ledger = LedgerWriter(FS, volume / "ledger" / "main" / log.name, 99, 2)
    limits = {one.camera: CameraLimits(kept_s[name] * S) for name, one in (("cam", CAM), ("other", OTHER))}
    options = ReclaimOptions(cameras=limits, retention_us=kept_s.get("every", 10**6) * S)
    made = Reclaimer(FS, log, ledger, options, lambda: (1 << 40, 1 << 41), ClockBrake(None))
    report = made.step(T0 + 1000 * S, 0)
    assert report.errors == []
    ledger.close()


# -- cut ---------------------------------------------------------------------------------------------------------------


def middle(blocks: list[ScannedBlock], _: int) -> int:
    return blocks[4].offset + blocks[4].entries[0].offset + 300


def border(blocks: list[ScannedBlock], _: int) -> int:
    return blocks[5].offset


def inside_first(blocks: list[ScannedBlock], _: int) -> int:
    """Its directory is there, no chunk is whole."""
    first = min(entry.offset + entry.header.chunk_len for entry in blocks[0].entries)
    return blocks[0].offset + first - 1


def last_chunk(blocks: list[ScannedBlock], _: int) -> int:
    """One byte of it is gone: the new footer begins right behind."""
    own = [entry for entry in blocks[-1].entries if entry.header.track == CAM.track.bytes]
    return blocks[-1].offset + max(entry.offset + entry.header.chunk_len for entry in own) - 1


def first_block(blocks: list[ScannedBlock], _: int) -> int:
    return blocks[0].end


def index_region(blocks: list[ScannedBlock], _: int) -> int:
    return blocks[-1].end + 100


def all_blocks(blocks: list[ScannedBlock], _: int) -> int:
    return blocks[-1].end


def trailer(_: list[ScannedBlock], size: int) -> int:
    return size - 1


CUTS = [
    (inside_first, True), (first_block, True), (middle, True), (border, True), (last_chunk, True),
    (all_blocks, False), (index_region, False), (trailer, False),
]  # fmt: skip


@pytest.mark.parametrize("thinned", [False, True])
@pytest.mark.parametrize(("place", "lossy"), CUTS)
def test_a_cut_segment_keeps_what_is_whole_and_says_what_went(
    place: Callable[[list[ScannedBlock], int], int],
    lossy: bool,
    thinned: bool,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = second(finished)
    if thinned:
        take_out(path, OTHER.track)
    os.truncate(path, place(scan_segment(FS, path).blocks, path.stat().st_size))
    want = [RECORDED, DAMAGED, RECORDED] if lossy else [RECORDED]
    assert words(finished) == want
    code, out = tool(capsys, "fsck", finished)
    (problem,) = out["problems"]
    assert (code, problem["code"]) == (1, "footer-damaged")
    assert ("cam 1 from 2026-" in problem["lost"]) is lossy
    assert ("cam 2 from" in problem["lost"]) is (lossy and not thinned)
    code, out = tool(capsys, "fsck", finished, "--repair")
    assert (code, len(out["repaired"]), len(out["left"])) == (int(lossy), 1, int(lossy))
    for _ in range(2):
        assert words(finished) == want
        code, out = tool(capsys, "fsck", finished, "--repair")
        assert [p["code"] for p in out["problems"]] == (["segment-short"] if lossy else [])
        assert (code, out["repaired"]) == (int(lossy), [])
        assert all("cam 1 from 2026-" in text for text in out["left"])
        for cache in finished.glob("catalog.db*"):
            cache.unlink()
    assert tool(capsys, "verify", finished)[0] == int(lossy)
    if thinned:
        assert OTHER.track in removed_tracks(FS, path.with_suffix(GONE))
    retention(finished, cam=1, other=10**6)
    if place is not inside_first:  # else nothing of it is left to go
        gone = removed_tracks(FS, path.with_suffix(GONE)) if path.exists() else {CAM.track: None}
        assert CAM.track in gone
    retention(finished, cam=1, other=1, every=1)
    assert not list(finished.rglob("*.rseg"))
    assert tool(capsys, "fsck", finished)[0] == 0


def test_a_mended_segment_is_cut_and_mended_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a cut chunk lay lies a footer now: it is not taken for the chunk when that footer goes too."""
    path = second(finished)
    os.truncate(path, middle(scan_segment(FS, path).blocks, 0))
    tool(capsys, "fsck", finished, "--repair")
    want = [RECORDED, DAMAGED, RECORDED]
    for keep in (5, 5, 3, 1):  # commits; the first time no further than into the new footer
        blocks = scan_segment(FS, path).blocks
        os.truncate(path, path.stat().st_size - 1 if keep == len(blocks) else blocks[keep].offset - 700)
        code, out = tool(capsys, "fsck", finished, "--repair")
        assert (code, len(out["repaired"]), len(out["left"])) == (1, 1, 1), keep
        assert words(finished) == want
        code, out = tool(capsys, "fsck", finished, "--repair")
        assert (code, out["repaired"], len(out["left"])) == (1, [], 1)


def test_a_segment_without_one_commit_stays_explained_and_goes_when_it_is_due(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = second(finished)
    os.truncate(path, 4096 + 100)
    for _ in range(2):
        code, out = tool(capsys, "fsck", finished, "--repair")
        assert (code, [p["code"] for p in out["problems"]], out["repaired"]) == (1, ["footer-damaged"], [])
        assert words(finished) == [RECORDED, DAMAGED, RECORDED]
    os.utime(path, (T0 / S, T0 / S))
    retention(finished, cam=1, other=1, every=1)
    assert not list(finished.rglob("*.rseg"))


def test_verify_knows_what_the_last_segment_of_a_run_held(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No later segment shows that numbers are missing; the ledger does."""
    path = sorted((finished / "log").rglob("*.rseg"))[-1]
    os.truncate(path, scan_segment(FS, path).blocks[2].offset)
    assert tool(capsys, "fsck", finished, "--repair")[0] == 1
    assert words(finished) == [RECORDED, DAMAGED]
    code, out = tool(capsys, "verify", finished)
    assert (code, {finding["file"] for finding in out["findings"]}) == (1, {str(path)})


def test_damage_in_the_middle_and_of_the_footer_stays_explained(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = second(finished)
    block = scan_segment(FS, path).blocks[4]
    raw = bytearray(path.read_bytes())
    raw[block.offset : block.offset + 64] = bytes(64)
    raw[-9] ^= 4
    path.write_bytes(raw)
    assert words(finished) == [RECORDED, DAMAGED, RECORDED]
    code, out = tool(capsys, "fsck", finished, "--repair")
    (problem,) = (p for p in out["problems"] if p["code"] == "footer-damaged")
    assert problem["lost"].count(" from 2026-") == 2
    assert words(finished) == [RECORDED, DAMAGED, RECORDED]
    code, out = tool(capsys, "fsck", finished, "--repair")
    assert (code, [p["code"] for p in out["problems"]], out["repaired"]) == (1, ["segment-short"], [])


@pytest.mark.parametrize("thinned", [False, True])
def test_the_daemon_ends_a_repair_that_was_cut_off(
    thinned: bool, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed behind the renaming: the next start makes the footer, and the ledger still tells what went."""
    path = second(finished)
    if thinned:
        take_out(path, OTHER.track)
    os.truncate(path, middle(scan_segment(FS, path).blocks, 0))
    path.rename(path.with_suffix(".open"))
    log = next((finished / "log" / "main").iterdir())
    ledger = LedgerWriter(FS, finished / "ledger" / "main" / log.name, 99, 2)
    made = Reclaimer(FS, log, ledger, ReclaimOptions(), lambda: (1 << 40, 1 << 41), ClockBrake(None))
    assert made.repeat_unfinished(T0 + 50 * S) == 0
    ledger.close()
    again = Recorder(finished, run=2, start_us=T0 + 60 * S)
    again.stop()
    assert words(finished) == [RECORDED, DAMAGED, RECORDED]
    assert path.with_suffix(GONE).exists() is thinned
    code, out = tool(capsys, "fsck", finished, "--repair")
    assert (code, [p["code"] for p in out["problems"]]) == (1, ["segment-short"])


def test_a_whole_copy_in_place_of_a_mended_segment_ends_the_loss(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = second(finished)
    whole = path.read_bytes()
    os.truncate(path, len(whole) // 2)
    assert tool(capsys, "fsck", finished, "--repair")[0] == 1
    path.write_bytes(whole)
    assert words(finished) == [RECORDED]
    code, out = tool(capsys, "fsck", finished, "--repair")
    assert (code, [p["code"] for p in out["problems"]]) == (0, ["seal-untold"])
    assert words(finished) == [RECORDED]
    assert tool(capsys, "fsck", finished) == (0, SOUND)
    assert tool(capsys, "verify", finished)[0] == 0


def test_an_index_that_points_outside_stops_no_retention(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A footer that names chunks beyond the blocks: they are no more, the others go."""
    path = second(finished)
    fd = FS.open_read(path)
    head, _ = read_footer(FS, fd)
    FS.close(fd)
    whole = ranges_of(FS, path, {CAM.track, OTHER.track}, ())

    def outside(fs: Fs, fd: int, summary: TrackSummary) -> tuple[list[ConfigPlace], ChunkColumns, ChunkColumns]:
        configs, media, notes = read_track(fs, fd, summary)
        last = media.count - 1
        media.offset[last] = head.data_end - 100 if summary.track == OTHER.track else head.data_end + 4096
        return configs, media, notes

    monkeypatch.setattr("mediadb.reclaim.punch.read_track", outside)
    ranges = ranges_of(FS, path, {CAM.track, OTHER.track}, ())
    assert sum(length for _, length in ranges) > sum(length for _, length in whole) / 2
    assert all(low >= 4096 and low + length <= head.data_end for low, length in ranges)


@pytest.mark.parametrize("kind", ["folder", "file", "hard"])
def test_a_file_that_two_names_lead_to_is_not_put_aside(
    kind: str, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A day that was moved and linked to, a segment that was: it is there once, and stays readable."""
    path, said = second(finished), words(finished)
    whole = path.read_bytes()
    elsewhere = path.parent.parent / "moved"
    if kind == "folder":
        path.parent.rename(elsewhere)
        path.parent.symlink_to(elsewhere.name)
    elif kind == "file":
        elsewhere.mkdir()
        path.rename(elsewhere / path.name)
        path.symlink_to(elsewhere / path.name)
    else:
        elsewhere.mkdir()
        (elsewhere / path.name).hardlink_to(path)
    assert tool(capsys, "verify", finished)[0] == 0
    code, out = tool(capsys, "fsck", finished, "--repair")
    assert (code, out["problems"], out["quarantined"]) == (0, [], 0)
    assert path.read_bytes() == whole
    assert words(finished) == said


# -- in the wrong place ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", ["2026-01-02", "2027-01-02"])
@pytest.mark.parametrize("thinned", [False, True])
def test_of_two_copies_the_one_in_its_place_stays(
    day: str, thinned: bool, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = second(finished)
    if thinned:
        take_out(path, OTHER.track)
    copy = path.parent.parent / day / path.name
    copy.parent.mkdir()
    shutil.copy2(path, copy)
    if thinned:
        shutil.copy2(path.with_suffix(GONE), copy.with_suffix(GONE))
    before, said = path.read_bytes(), words(finished)
    code, out = tool(capsys, "verify", finished)
    assert code == 1
    assert {finding["file"] for finding in out["findings"]} == {str(copy)}
    code, out = tool(capsys, "fsck", finished)
    assert (code, [(p["code"], p["path"]) for p in out["problems"]]) == (1, [("segment-twice", str(copy))])
    assert tool(capsys, "fsck", finished, "--repair")[0] == 0
    assert path.read_bytes() == before
    assert not copy.exists()
    assert not copy.with_suffix(GONE).exists()
    assert path.with_suffix(GONE).exists() is thinned
    assert words(finished) == said
    code, out = tool(capsys, "fsck", finished)
    assert (code, out["problems"], out["quarantined"]) == (0, [], 1 + thinned)
    assert tool(capsys, "verify", finished)[0] == 0


@pytest.mark.parametrize("thinned", [False, True])
def test_a_segment_moved_elsewhere_comes_back(
    thinned: bool, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, said = second(finished), words(finished)
    if thinned:
        take_out(path, OTHER.track)
    files = [path, path.with_suffix(GONE)] if thinned else [path]
    (path.parent.parent / "2026-01-02").mkdir()
    for one in files:
        one.rename(path.parent.parent / "2026-01-02" / one.name)
    assert words(finished) != said
    code, out = tool(capsys, "fsck", finished)
    assert (code, [p["code"] for p in out["problems"]]) == (1, ["name-wrong"])
    assert tool(capsys, "verify", finished)[0] == 1
    assert tool(capsys, "fsck", finished, "--repair")[0] == 0
    assert all(one.exists() for one in files)
    assert words(finished) == said
    assert tool(capsys, "fsck", finished) == (0, SOUND)
    assert tool(capsys, "verify", finished)[0] == 0


def test_a_sound_copy_takes_the_place_of_a_cut_segment(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, said = second(finished), words(finished)
    copy = path.parent.parent / "2026-01-02" / path.name
    copy.parent.mkdir()
    shutil.copy2(path, copy)
    os.truncate(path, path.stat().st_size // 2)
    whole = copy.read_bytes()
    assert tool(capsys, "fsck", finished, "--repair")[0] == 0
    assert path.read_bytes() == whole
    assert words(finished) == said
    code, out = tool(capsys, "fsck", finished)
    assert (code, out["problems"], out["quarantined"]) == (0, [], 1)


def test_a_segment_in_another_log_is_put_aside_there(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, said = second(finished), words(finished)
    other = finished / "log" / "main" / str(uuid.uuid4())
    shutil.copytree(path.parent.parent, other)
    for one in sorted(other.rglob("*.rseg"))[2:]:
        one.unlink()
    copies = [str(one) for one in sorted(other.rglob("*.rseg"))]
    assert words(finished) == said
    try:
        code, out = tool(capsys, "verify", finished)
        named = {finding["file"] for finding in out["findings"]}
    except MediaDbError as error:
        pytest.fail(str(error))
    assert (code, named >= set(copies)) == (1, True)
    assert str(path) not in named
    tool(capsys, "fsck", finished, "--repair")
    assert path.exists()
    assert not list(other.rglob("*.rseg"))
    assert words(finished) == said
